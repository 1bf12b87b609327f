"""Predictions of the sky for many exposures, in the tables and the run directory that the networks write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

from cascade.camera import Camera
from cascade.core.errors import CascadeError, ConfigError, InputError
from cascade.core.exposure import HeaderFields, Source
from cascade.core.processes import results_in_order
from cascade.networks.model_id import ModelId
from cascade.optics.bank import OpticsBank
from cascade.pipeline.session import Callbacks, Plan, open_session
from cascade.runs.classes import PAPER_RUN_CLASSES
from cascade.runs.config import PREDICTOR, Batch, RunConfig
from cascade.runs.files import check_usable
from cascade.runs.rows import Outcome, batch_counts, batch_tables, finding_of, mask_planes
from cascade.runs.run import Run
from cascade.runs.tables import BatchCounts, BatchResult
from cascade.sky.catalogue import BrightStars
from cascade.sky.forecast import PredictedArtifact, forecast, instances_of, predicted_artifacts
from cascade.sky.laws import Levels, SkyLaws
from cascade.sky.pointing import Pointing
from cascade.sky.prior import THRESHOLD, PriorLaw
from cascade.storage import open_storage


@dataclass(frozen=True, eq=False)
class Predictor:
    """
    All inputs of a prediction but the pointing.

    Attributes
    ----------
    laws
        Which ghosts and Rays stars make.
    levels
        The probabilities from which on something is predicted.
    prior
        How likely exposures are ghosted.
    threshold
        The smallest such probability of an exposure of which anything is predicted.
    bank, stars
        The telescope and the sky.
    camera
        On the preview's grid.
    """

    laws: SkyLaws
    levels: Levels
    prior: PriorLaw
    threshold: float
    bank: OpticsBank
    stars: BrightStars
    camera: Camera

    @classmethod
    def load(cls, min_probability: float | None = None, threshold: float = THRESHOLD) -> Predictor:
        """
        Read the data files of the package.

        Parameters
        ----------
        min_probability : float or None
            From which on ghosts and Rays are predicted, in (0, 1); None: at the levels of the laws.

        threshold : float
            Smallest probability, in [0, 1], that an exposure of a survey is ghosted at all, for anything to be
            predicted of it.

        Raises
        ------
        ConfigError
            If a probability is out of range.
        """
        if not 0 <= threshold <= 1:
            msg = f"threshold: expected a number in [0, 1], got {threshold}"
            raise ConfigError(msg)
        laws = SkyLaws.load()
        levels = laws.levels if min_probability is None else laws.levels.at(min_probability)
        return cls(laws, levels, PriorLaw.load(), threshold, OpticsBank.load(), BrightStars.load(), Camera.decam())

    def model_id(self) -> ModelId:
        """Hashes of the data files and of the levels, so that a run is resumed only with equal ones."""
        data = [part.description["arrays_sha256"] for part in (self.laws, self.prior, self.bank, self.stars)]
        contents = (data, {**asdict(self.levels), "threshold": self.threshold})
        hashes = (hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest() for content in contents)
        return ModelId(PREDICTOR, *hashes)

    def outcome(self, exposure: int, source: Source, rotation_deg: float = 0.0) -> Outcome:
        """Predict one exposure, see `Pointing` for the rotation; one that cannot be predicted becomes a failure."""
        try:
            pointing = self._pointing(source.header, rotation_deg)
            expected = forecast(pointing, self.laws, bank=self.bank, stars=self.stars)
        except CascadeError as error:
            return Outcome(exposure, source).failed("read", error)
        probability = self.prior.probability(expected)
        if probability < self.threshold:
            return Outcome(exposure, source, sky_score=probability)
        artifacts = predicted_artifacts(expected, self.levels)
        finding = finding_of(instances_of(artifacts), self.camera, self._stars(artifacts, pointing))
        return Outcome(exposure, source, sky_score=probability, flagged=True, finding=finding)

    def _stars(self, artifacts: Sequence[PredictedArtifact], pointing: Pointing) -> list[dict[str, Any]]:
        """What the artifacts table says of the stars behind artifacts."""
        stars = np.array([one.star for one in artifacts], np.intp)
        columns = {
            "hip": self.stars.hip[stars].tolist(),
            "star_mag": self.stars.magnitudes(stars, pointing.band).tolist(),
            **dict(zip(("star_ra", "star_dec"), map(list, self.stars.places(stars, pointing.mjd_obs)), strict=True)),
            "pair": [one.pair for one in artifacts],
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _pointing(self, header: HeaderFields, rotation_deg: float) -> Pointing:
        """The pointing of an exposure, or InputError if its header does not give it."""
        if header.ra is None or header.dec is None or header.band is None:
            missing = ", ".join(name for name in ("ra", "dec", "band") if getattr(header, name) is None)
            msg = f"pointing: expected ra, dec and band, got no {missing}; a manifest can give them"
            raise InputError(msg)
        return Pointing(header.ra, header.dec, header.band, header.mjd_obs, rotation_deg)


def predict_run(
    sources: Sequence[Source],
    out: Path | str,
    predictor: Predictor,
    *,
    rotations_deg: Sequence[float] | None = None,
    batch_size: int = 256,
    n_workers: int = 1,
    fresh: bool = False,
    on_batch: Callable[[BatchCounts], None] | None = None,
) -> Run:
    """
    Predict the ghosts of exposures into a run directory; a killed one is resumed.

    Parameters
    ----------
    sources : sequence of Source
        The exposures, with their header fields; pixels are not read. Those without ra, dec and a known band fail.
    out : Path or str
        The run directory: new, empty, or one of the same exposures and rule.
    predictor : Predictor
    rotations_deg : sequence of float or None
        Of each exposure, see `Pointing`; None: 0.
    batch_size : int
        Exposures a batch.
    n_workers : int
        Processes that predict; those beside this one need the shipped laws.
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
    rotations = [0.0] * len(sources) if rotations_deg is None else rotations_deg
    turned = zip(sources, rotations, strict=True)
    listed = json.dumps([[source.path, source.expnum, asdict(source.header), turn] for source, turn in turned])
    inputs = hashlib.sha256(listed.encode()).hexdigest()
    config = RunConfig(inputs, len(sources), None, predictor.model_id(), None, batch_size, classes=PAPER_RUN_CLASSES)
    storage = open_storage(out)
    check_usable(storage)
    plan = Plan(config, details={"levels": asdict(predictor.levels), "threshold": predictor.threshold}, fresh=fresh)
    with open_session(storage, plan, Callbacks(on_batch=on_batch)) as session:
        run = session.run
        with closing(_predicted(run.pending(), sources, rotations, predictor, n_workers)) as predicted:
            for batch, result in predicted:
                session.batch_done(run.commit(batch, result))
        run.finish()
    return run


def sources_of(exposures: pa.Table) -> list[Source]:
    """The exposures of a run's table, with their header fields."""
    rows = exposures.sort_by("exposure").to_pylist()
    return [Source(row["path"], row["expnum"], HeaderFields.of(row)) for row in rows]


def _predicted(
    batches: Sequence[Batch],
    sources: Sequence[Source],
    rotations: Sequence[float],
    predictor: Predictor,
    n_workers: int,
) -> Generator[tuple[Batch, BatchResult], None, None]:
    """The results of batches in order; with several processes, a few batches ahead."""
    parts = ((one, sources[one.start : one.stop], rotations[one.start : one.stop]) for one in batches)
    if n_workers == 1:
        for batch, its_sources, its_rotations in parts:
            yield batch, _batch(batch.start, its_sources, its_rotations, predictor)
        return
    settings = predictor.levels, predictor.threshold
    calls = ((batch.start, its_sources, its_rotations, *settings) for batch, its_sources, its_rotations in parts)
    with closing(results_in_order(n_workers, _remote_batch, calls)) as results:
        yield from zip(batches, results, strict=True)


def _batch(start: int, sources: Sequence[Source], rotations: Sequence[float], predictor: Predictor) -> BatchResult:
    """Predict one batch, whose first exposure is number `start` of the run."""
    began = perf_counter()
    turned = zip(sources, rotations, strict=True)
    outcomes = [predictor.outcome(start + n, source, rotation) for n, (source, rotation) in enumerate(turned)]
    tables, masks = batch_tables(outcomes), mask_planes(outcomes, predictor.camera)
    return BatchResult(tables, masks, batch_counts(outcomes, {"segment": perf_counter() - began}))


def _remote_batch(
    start: int, sources: Sequence[Source], rotations: Sequence[float], levels: Levels, threshold: float
) -> BatchResult:
    """`_batch` in another process, which reads the laws once."""
    return _batch(start, sources, rotations, replace(_shipped(), levels=levels, threshold=threshold))


@cache
def _shipped() -> Predictor:
    """A predictor of the shipped laws."""
    return Predictor.load()
