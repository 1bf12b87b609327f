"""The stars behind the CCDs of a veto list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cascade.core.star_names import star_name
from cascade.runs.rows import row_mask
from cascade.veto import VetoList


def with_stars(vetoes: VetoList, artifacts: Iterable[pa.Table]) -> VetoList:
    """
    Name the star of each vetoed CCD: that of the artifact that covers most of it, of those whose star is known.

    Parameters
    ----------
    vetoes : VetoList
        Of one run.
    artifacts : iterable of pyarrow.Table
        Its artifacts, in parts; networks do not know their stars, the sky does.

    Raises
    ------
    StoreError
        If an artifact has no mask.
    """
    ccdnums: dict[int, set[int]] = {}
    for expnum, ccdnum in zip(*(vetoes.table[name].to_pylist() for name in ("expnum", "ccdnum")), strict=True):
        ccdnums.setdefault(expnum, set()).add(ccdnum)
    labels = pa.array([class_.label for class_ in vetoes.rule.classes])
    most: dict[tuple[int, int], int] = {}
    stars: dict[tuple[int, int], str] = {}
    for part in artifacts:
        vetoed = pc.is_in(part["expnum"], value_set=pa.array(ccdnums, pa.int64()))
        counts = pc.and_(vetoed, pc.is_in(part["class"], value_set=labels))
        for row in part.filter(pc.and_(counts, pc.is_valid(part["hip"]))).to_pylist():
            covered = np.bincount(vetoes.camera.labels[row_mask(row)])
            for ccdnum in ccdnums[row["expnum"]].intersection(np.flatnonzero(covered).tolist()):
                key = row["expnum"], ccdnum
                if covered[ccdnum] > most.get(key, 0):
                    most[key], stars[key] = int(covered[ccdnum]), star_name(row["hip"])
    return replace(vetoes, stars=stars)
