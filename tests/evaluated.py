"""Runs and annotation files with known artifacts, for tests of the evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fakes import instances

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import Instances, Source
from cascade.inputs import expnum_from_name
from cascade.networks.model_id import ModelId
from cascade.runs.config import RunConfig, batches
from cascade.runs.rows import Outcome, batch_counts, batch_tables, finding_of, mask_planes
from cascade.runs.run import Run
from cascade.runs.tables import BatchResult

CAMERA = Camera.decam()

# Rectangles (class, score, y0, x0, y1, x1): each within one CCD, whose number is in the name.
BRIGHT_28 = (Artifact.BRIGHT, 0.9, 172, 190, 192, 210)
BRIGHT_35 = (Artifact.BRIGHT, 0.8, 205, 190, 225, 210)
FAINT_35 = (Artifact.FAINT, 0.8, 205, 190, 225, 210)
RAYS_1 = (Artifact.RAYS, 0.6, 10, 240, 30, 290)

Rectangle = tuple[Artifact, float, int, int, int, int]


def write_run(
    path: Path | str, found: Mapping[str, Sequence[Rectangle]], *, scores: Mapping[str, float] | None = None,
    failed: Sequence[str] = (),
) -> Run:  # fmt: skip
    """A complete run over images of these names and artifacts; with `scores`, one that screened at 0.5."""
    names = list(found)
    screen = None if scores is None else ModelId("screen-fake", "aa", "cc")
    config = RunConfig("f00d", len(names), screen, ModelId("segment-fake", "bb", "dd"), 0.5 if screen else None, 4)
    run = Run.create_or_resume(path, config)
    for batch in batches(len(names), 4):
        outcomes = []
        for number in range(batch.start, batch.stop):
            name = names[number]
            score = None if scores is None else scores[name]
            outcome = Outcome(number, Source(f"night/{name}", expnum_from_name(name)), score=score)
            if name in failed:
                outcome = outcome.failed("read", ValueError("damaged"))
            elif score is None or score >= 0.5:
                outcome = replace(outcome, flagged=True, finding=finding_of(drawn(found[name]), CAMERA))
            outcomes.append(outcome)
        tables = batch_tables(outcomes)
        run.commit(batch, BatchResult(tables, mask_planes(outcomes, CAMERA), batch_counts(outcomes, {})))
    run.finish()
    return run


def drawn(rectangles: Sequence[Rectangle]) -> Instances:
    """Instances of rectangles."""
    return instances(*rectangles)


def write_via(path: Path, found: Mapping[str, Sequence[Rectangle]]) -> Path:
    """A VIA file with the same rectangles; VIA's include the far edge, half-open ones do not."""
    records = [{"filename": name, "size": 1, "regions": [_region(r) for r in found[name]]} for name in found]
    path.write_text(json.dumps(records))
    return path


def _region(rectangle: Rectangle) -> dict[str, object]:
    artifact, _, y0, x0, y1, x1 = rectangle
    shape = {"name": "rect", "x": x0, "y": y0, "width": x1 - 1 - x0, "height": y1 - 1 - y0}
    return {"shape_attributes": shape, "region_attributes": {"Type": artifact.name.title()}}
