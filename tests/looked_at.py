"""
Small runs to look at: previews on the disk, nights and bands, flagged exposures with and without artifacts; and what
the sky predicts for them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fakes import config, instances
from PIL import Image

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import HeaderFields, Instances, Source
from cascade.inputs import open_inputs
from cascade.inputs.listing import list_inputs
from cascade.networks.model_id import ModelId
from cascade.runs.config import PREDICTOR, Batch
from cascade.runs.rows import Outcome, batch_counts, batch_tables, finding_of, mask_planes
from cascade.runs.run import Run
from cascade.runs.tables import BatchResult

DECAM = Camera.decam()
N = 24
FAILED = 5
FOUND = {
    1: instances((Artifact.BRIGHT, 0.95, 100, 120, 150, 180)),
    2: instances((Artifact.FAINT, 0.97, 90, 90, 300, 300), (Artifact.RAYS, 0.9, 250, 250, 310, 350)),
    3: Instances.empty(),
    **{k: instances((Artifact(k % 3), 0.8 + k / 100, 60 + 5 * k, 60, 110 + 5 * k, 200)) for k in range(8, 18)},
}
"""What the networks found in the exposures that were flagged, by position."""

ALDEBARAN = {"hip": 21421, "star_mag": 0.43, "star_ra": 68.98, "star_dec": 16.51, "pair": "D>Filter"}
NAMELESS = {"hip": 20885, "star_mag": 3.84, "star_ra": 67.15, "star_dec": 15.87, "pair": None}
PREDICTED = {
    1: (instances((Artifact.BRIGHT, 0.7, 100, 120, 150, 180)), [ALDEBARAN]),
    2: (
        instances((Artifact.FAINT, 0.6, 90, 90, 200, 300), (Artifact.RAYS, 0.4, 0, 150, 90, 250)),
        [ALDEBARAN, NAMELESS],
    ),
    3: (instances((Artifact.BRIGHT, 0.55, 200, 200, 240, 260)), [NAMELESS]),
    4: (instances((Artifact.RAYS, 0.8, 250, 250, 310, 350)), [NAMELESS]),
    FAILED: (instances((Artifact.RAYS, 0.8, 250, 250, 310, 350)), [NAMELESS]),
}
"""What the sky predicts, and the stars behind it, by the same positions."""

UNPREDICTED = 8
"""The exposure that has no pointing, and so no prediction; the one after it is not in that run."""


def looked_at(folder: Path, names: list[str] | None = None) -> Run:
    """A complete run of `N` exposures in ``folder/RUN``, with their previews in ``folder/previews``."""
    previews = folder / "previews"
    previews.mkdir(parents=True)
    for k, name in enumerate(names or [f"D{700000 + k:08d}.png" for k in range(N)]):
        rng = np.random.default_rng(k)
        image = np.clip(rng.normal(55, 12, (400, 400)), 0, 255) * (DECAM.labels > 0)
        Image.fromarray(image.astype(np.uint8)).save(previews / name, format="PNG")
    reader = open_inputs([str(previews)])
    outcomes = [_outcome(k, reader.source(k)) for k in range(len(reader))]
    listing = list_inputs(reader)
    settings = config(n_exposures=len(reader), batch_size=len(reader), threshold=0.5)
    run = Run.create_or_resume(folder / "RUN", settings, listing=listing, details={"inputs": [str(previews)]})
    counts = batch_counts(outcomes, {"read": 1.5, "screen": 0.5, "segment": 2.0})
    run.commit(Batch(0, 0, len(reader)), BatchResult(batch_tables(outcomes), mask_planes(outcomes, DECAM), counts))
    run.finish()
    return run


def predicted(folder: Path, run: Run) -> Run:
    """Predictions for the exposures of a run, in another order, in ``folder``."""
    rows = [row for row in run.table("exposures").to_pylist()[::-1] if row["exposure"] != UNPREDICTED + 1]
    outcomes = []
    for k, row in enumerate(rows):
        source = Source(f"pointings.csv[{k}]", row["expnum"], HeaderFields.of(row))
        found, stars = PREDICTED.get(row["exposure"], (Instances.empty(), []))
        outcome = Outcome(k, source, flagged=True, finding=finding_of(found, DECAM, stars))
        missing = row["exposure"] == UNPREDICTED
        outcomes.append(outcome.failed("read", ValueError("got no ra")) if missing else outcome)
    model = ModelId(PREDICTOR, "aa", "bb")
    settings = config(n_exposures=len(rows), batch_size=len(rows), screen=None, threshold=None, segment=model)
    made = Run.create_or_resume(folder, settings)
    result = BatchResult(batch_tables(outcomes), mask_planes(outcomes, DECAM), batch_counts(outcomes, {"segment": 1.0}))
    made.commit(Batch(0, 0, len(rows)), result)
    made.finish()
    return made


def _outcome(k: int, source: Source) -> Outcome:
    header = HeaderFields(band="grizY"[k % 5], mjd_obs=56600.2 + k // 6, exptime=90.0)
    source = Source(source.path, source.expnum, header)
    if k == FAILED:
        return Outcome(k, source).failed("read", ValueError(f"{source.path}: <b>no</b> image"))
    flagged = k in FOUND
    finding = finding_of(FOUND[k], DECAM) if flagged else None
    return Outcome(k, source, score=0.55 + k / 60 if flagged else k / 60, flagged=flagged, finding=finding)
