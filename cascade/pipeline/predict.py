"""Ray-traced predictions for many exposures, in the tables and the run directory that the networks write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import pyarrow as pa

from cascade.camera import Camera
from cascade.core.errors import CascadeError, InputError
from cascade.core.exposure import HeaderFields, Source
from cascade.networks.model_id import ModelId
from cascade.optics.ghost_optics import GhostOptics
from cascade.pipeline.session import Callbacks, Plan, open_session
from cascade.runs.classes import PAPER_RUN_CLASSES
from cascade.runs.config import Batch, RunConfig
from cascade.runs.files import check_usable
from cascade.runs.rows import Outcome, batch_counts, batch_tables, finding_of, mask_planes
from cascade.runs.run import Run
from cascade.runs.tables import BatchCounts, BatchResult
from cascade.sky.catalogue import BrightStars
from cascade.sky.pointing import Pointing
from cascade.sky.raytrace import RaytraceRule, ghost_instances, predict_ghosts
from cascade.storage import open_storage

PREDICTOR = "raytrace"
"""Name of the segmenting model in the ``run.json`` of a run of predictions."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """
    All inputs of a prediction but the pointing.

    Attributes
    ----------
    rule
        Which ghosts are predicted.
    optics, stars
        The telescope and the sky.
    camera
        On the preview's grid.
    rotation_deg
        See `Pointing`.
    """

    rule: RaytraceRule
    optics: GhostOptics
    stars: BrightStars
    camera: Camera
    rotation_deg: float = 0.0

    @classmethod
    def load(cls, rule: RaytraceRule, rotation_deg: float = 0.0) -> Predictor:
        """Read the data files of the package."""
        return cls(rule, GhostOptics.load(), BrightStars.load(), Camera.decam(), rotation_deg)

    def model_id(self) -> ModelId:
        """Hashes of the data files and of the rule, so that a run is resumed only with equal ones."""
        data = [part.description["arrays_sha256"] for part in (self.optics.bank, self.stars)]
        rule = {**asdict(self.rule), "rotation_deg": self.rotation_deg}
        hashes = (hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest() for content in (data, rule))
        return ModelId(PREDICTOR, *hashes)

    def outcome(self, exposure: int, source: Source) -> Outcome:
        """Predict one exposure; one that cannot be becomes a failure."""
        try:
            ghosts = predict_ghosts(self._pointing(source.header), self.rule, optics=self.optics, stars=self.stars)
        except CascadeError as error:
            return Outcome(exposure, source).failed("read", error)
        finding = finding_of(ghost_instances(ghosts, self.rule), self.camera)
        return Outcome(exposure, source, flagged=True, finding=finding)

    def _pointing(self, header: HeaderFields) -> Pointing:
        """The pointing of an exposure, or InputError if its header does not give it."""
        if header.ra is None or header.dec is None or header.band is None:
            missing = ", ".join(name for name in ("ra", "dec", "band") if getattr(header, name) is None)
            msg = f"pointing: expected ra, dec and band, got no {missing}; a manifest can give them"
            raise InputError(msg)
        return Pointing(header.ra, header.dec, header.band, header.mjd_obs, self.rotation_deg)


def predict_run(
    sources: Sequence[Source],
    out: Path | str,
    predictor: Predictor,
    *,
    batch_size: int = 256,
    fresh: bool = False,
    on_batch: Callable[[BatchCounts], None] | None = None,
) -> Run:
    """
    Predict the ghosts of exposures into a run directory; a killed one is resumed.

    Parameters
    ----------
    sources : sequence of Source
        The exposures, with their header fields; pixels are not read. Those without ra, dec and band fail.
    out : Path or str
        The run directory: new, empty, or one of the same exposures and rule.
    predictor : Predictor
    batch_size : int
        Exposures a batch.
    fresh : bool
        Delete an earlier run in `out`.
    on_batch : callable or None
        Called after each committed batch.

    Returns
    -------
    Run
        Complete.

    Raises
    ------
    ConfigError
        If there is no exposure.
    StoreError
        If `out` holds something else, or another run is active in it.
    """
    listed = json.dumps([[source.path, source.expnum, asdict(source.header)] for source in sources])
    inputs = hashlib.sha256(listed.encode()).hexdigest()
    config = RunConfig(inputs, len(sources), None, predictor.model_id(), None, batch_size, classes=PAPER_RUN_CLASSES)
    storage = open_storage(out)
    check_usable(storage)
    plan = Plan(config, details={"rule": asdict(predictor.rule)}, fresh=fresh)
    with open_session(storage, plan, Callbacks(on_batch=on_batch)) as session:
        run = session.run
        for batch in run.pending():
            session.batch_done(run.commit(batch, _batch(batch, sources, predictor)))
        run.finish()
    return run


def sources_of(exposures: pa.Table) -> list[Source]:
    """The exposures of a run's table, with their header fields."""
    rows = exposures.sort_by("exposure").to_pylist()
    return [Source(row["path"], row["expnum"], HeaderFields.of(row)) for row in rows]


def _batch(batch: Batch, sources: Sequence[Source], predictor: Predictor) -> BatchResult:
    """Predict one batch."""
    start = perf_counter()
    outcomes = [predictor.outcome(index, sources[index]) for index in range(batch.start, batch.stop)]
    tables, masks = batch_tables(outcomes), mask_planes(outcomes, predictor.camera)
    return BatchResult(tables, masks, batch_counts(outcomes, {"segment": perf_counter() - start}))
