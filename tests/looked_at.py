"""Small runs to look at: previews on the disk, nights and bands, flagged exposures with and without artifacts."""

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
from cascade.runs.config import Batch
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


def _outcome(k: int, source: Source) -> Outcome:
    header = HeaderFields(band="grizY"[k % 5], mjd_obs=56600.2 + k // 6, exptime=90.0)
    source = Source(source.path, source.expnum, header)
    if k == FAILED:
        return Outcome(k, source).failed("read", ValueError(f"{source.path}: <b>no</b> image"))
    flagged = k in FOUND
    finding = finding_of(FOUND[k], DECAM) if flagged else None
    return Outcome(k, source, score=0.55 + k / 60 if flagged else k / 60, flagged=flagged, finding=finding)
