"""Small complete runs for the tests of exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fakes import config, instances

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import Instances, Source
from cascade.runs.config import Batch
from cascade.runs.rows import Outcome, batch_counts, batch_tables, finding_of, mask_planes
from cascade.runs.run import Run
from cascade.runs.tables import BatchResult

DECAM = Camera.decam()


def run_of(path: Path | str, items: list[tuple[Source, Instances]], camera: Camera = DECAM) -> Run:
    """A complete run in one batch."""
    settings = config(n_exposures=len(items), batch_size=len(items), camera=camera.name)
    run = Run.create_or_resume(path, settings)
    outcomes = [
        Outcome(k, source, score=0.9, flagged=True, finding=finding_of(found, camera))
        for k, (source, found) in enumerate(items)
    ]
    result = BatchResult(batch_tables(outcomes), mask_planes(outcomes, camera), batch_counts(outcomes, {}))
    run.commit(Batch(0, 0, len(items)), result)
    run.finish()
    return run


def box_of(ccdnum: int, camera: Camera = DECAM) -> tuple[int, int, int, int]:
    """(y0, x0, y1, x1) of a CCD on the preview."""
    rows, columns = np.nonzero(camera.labels == ccdnum)
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def corner_marks(ccdnum: int, camera: Camera = DECAM) -> Instances:
    """A square in the upper left of a CCD, a long bar in its upper right, a small square in its lower left."""
    y0, x0, y1, x1 = box_of(ccdnum, camera)
    return instances(
        (Artifact.BRIGHT, 0.9, y0 + 3, x0 + 4, y0 + 9, x0 + 10),
        (Artifact.FAINT, 0.8, y0 + 3, x1 - 20, y0 + 9, x1 - 4),
        (Artifact.RAYS, 0.7, y1 - 7, x0 + 4, y1 - 3, x0 + 8),
    )
