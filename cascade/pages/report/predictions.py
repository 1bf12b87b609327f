"""What the sky predicts for the exposures of a run, beside what was found in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cascade.camera import Camera
from cascade.core.errors import InputError
from cascade.pages.report.snapshot import MISSED, NOT_COMPARED, UNFORESEEN, Predictions, RunSnapshot
from cascade.runs.run import Run
from cascade.veto import VetoList, veto_rows

_STATES = {(True, True): "both", (False, False): "neither", (True, False): MISSED, (False, True): UNFORESEEN}


def with_predictions(snapshot: RunSnapshot, predicted: Run) -> RunSnapshot:
    """
    Add predictions to the exposures of a run, by exposure number; those without one have no prediction.

    Raises
    ------
    InputError
        If it is no run of predictions, or one of another camera, or of none of the exposures.
    StoreError
        If it is damaged.
    """
    config = predicted.config
    wanted = f"{predicted.path}: expected predictions of cascade raytrace for {snapshot.run.path}"
    if not config.is_predicted:
        msg = f"{wanted}, got a run of {config.segment.name if config.segment else 'no model'}"
        raise InputError(msg)
    instrument = Camera.load(config.camera).instrument
    if instrument != snapshot.camera.instrument:
        msg = f"{wanted}, whose camera is {snapshot.camera.instrument}, got those of {instrument}"
        raise InputError(msg)
    ours, theirs = snapshot.tables["exposures"], predicted.table("exposures")
    expnums = ours["expnum"].to_pylist()
    theirs = theirs.filter(pc.and_(pc.greater(theirs["expnum"], 0), pc.is_in(theirs["expnum"], ours["expnum"])))
    if not len(theirs):
        msg = f"{wanted}, got none with the number of one of its exposures"
        raise InputError(msg)
    rows = theirs.filter(pc.not_equal(theirs["status"], "failed")).to_pylist()
    position = {row["expnum"]: row["exposure"] for row in reversed(rows)}  # of several with one number, the first
    tables = {name: _of(predicted.parts(name), position.values()) for name in ("artifacts", "ccds")}
    by_position: dict[int, list[dict[str, Any]]] = {}
    for artifact in tables["artifacts"].to_pylist():
        by_position.setdefault(artifact["exposure"], []).append(artifact)
    vetoes = _ccdnums(veto_rows(tables["ccds"], theirs, snapshot.vetoes.rule, snapshot.camera))
    found = _ccdnums(snapshot.vetoes)
    states, artifacts, missed, unforeseen = [], {}, {}, {}
    failed = [status == "failed" for status in ours["status"].to_pylist()]
    for row, (expnum, n_artifacts) in enumerate(zip(expnums, ours["n_artifacts"].to_pylist(), strict=True)):
        expected = by_position.get(position.get(expnum, -1), [])
        if expected:
            artifacts[row] = expected
        if failed[row] or expnum not in position:
            states.append(NOT_COMPARED)
            continue
        states.append(_STATES[bool(expected), n_artifacts > 0])
        missed[row] = sorted(vetoes.get(expnum, set()) - found.get(expnum, set()))
        unforeseen[row] = sorted(found.get(expnum, set()) - vetoes.get(expnum, set()))
    return replace(snapshot, predictions=Predictions(str(predicted.path), states, artifacts, missed, unforeseen))


def _of(parts: Iterable[pa.Table], positions: Iterable[int]) -> pa.Table:
    """The rows of a table that belong to some exposures."""
    wanted = pa.array(positions, pa.int64())
    return pa.concat_tables([part.filter(pc.is_in(part["exposure"], wanted)) for part in parts])


def _ccdnums(vetoes: VetoList) -> dict[int, set[int]]:
    """The vetoed CCDs, by exposure number."""
    found: dict[int, set[int]] = {}
    for expnum, ccdnum in zip(*(vetoes.table[name].to_pylist() for name in ("expnum", "ccdnum")), strict=True):
        found.setdefault(expnum, set()).add(ccdnum)
    return found
