"""A whole season in one call: inputs, models and a run directory, in this process or over Dask."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa

from cascade.camera import Camera
from cascade.core.errors import ConfigError, ModelError
from cascade.inputs import Reader, open_inputs
from cascade.inputs.listing import fingerprint, list_inputs, order_as
from cascade.inputs.order import reordered
from cascade.networks.engines import check_engine
from cascade.networks.model_id import ModelId
from cascade.networks.model_info import ModelInfo, Task, read_model
from cascade.networks.models import DEFAULT_MODELS, find_model, verify_weights
from cascade.networks.screen import NetworkScreener, Screener
from cascade.networks.segment import NetworkSegmenter, Segmenter
from cascade.networks.stub import STUB, THRESHOLD, StubLoader
from cascade.pipeline.batch import run_serial
from cascade.pipeline.isolated import Loader
from cascade.runs.classes import PAPER_RUN_CLASSES, RunClass
from cascade.runs.config import RunConfig
from cascade.runs.files import check_usable
from cascade.runs.lease import hold_lease
from cascade.runs.log import RunLog
from cascade.runs.run import Run, find_run
from cascade.runs.tables import BatchCounts
from cascade.storage.places import open_storage

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class NetworkLoader:
    """
    Loads both networks; picklable, so that Dask workers can load them once each.

    Attributes
    ----------
    screen, segment
        Model folders; None for no screen.
    identities
        What each that is given must still be, in that order.
    engine
        Where they run; see `cascade.networks.engines.load_engine`.
    """

    screen: Path | None
    segment: Path
    identities: tuple[ModelId, ...]
    engine: str

    def __call__(self) -> tuple[Screener | None, Segmenter]:
        """
        Load the networks, verified.

        Raises
        ------
        ModelError
            If a folder holds another model by now, or it is damaged.
        """
        infos = [read_model(folder) for folder in (self.screen, self.segment) if folder is not None]
        for info, expected in zip(infos, self.identities, strict=True):
            if _identity(info) != expected:
                msg = f"{info.folder}: expected {expected}, got {_identity(info)}: the model was replaced"
                raise ModelError(msg)
        screener = None if self.screen is None else NetworkScreener.load(infos[0], engine=self.engine)
        return screener, NetworkSegmenter.load(infos[-1], engine=self.engine)


def run_season(
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    screen: str | None = DEFAULT_MODELS["screen"],
    segment: str = DEFAULT_MODELS["segment"],
    threshold: float | None = None,
    recall: float | None = None,
    engine: str = "auto",
    batch_size: int = 256,
    n_workers: int | None = None,
    scheduler: str | None = None,
    fresh: bool = False,
    models_dir: PathLike | None = None,
    camera: str = "decam",
    on_start: Callable[[Run], None] | None = None,
    on_batch: Callable[[BatchCounts], None] | None = None,
    on_event: Callable[..., None] | None = None,
) -> Run:
    """
    Take exposures through the cascade into a run directory; call it again to go on after a kill.

    Parameters
    ----------
    inputs : path or sequence of paths
        Folders, glob patterns, zips, .npy stacks, Zarr previews, FITS exposures, images or manifests.
    out : path
        The run directory, or an ``s3://bucket/prefix`` URL: new, empty, or a run of the same settings and of the same
        inputs, to which new ones may have been added since.
    screen, segment : str
        Names of models, or paths of model folders; `screen` None segments every exposure.
    threshold : float or None
        Screen score in [0, 1] from which an exposure is flagged; None takes the model's own.
    recall : float or None
        Take the threshold with which the screen promises this recall instead; see `cascade.training.calibrate`.
    engine : str
        Where the networks run: ``"auto"``, ``"keras"`` or ``"openvino"``; see `cascade.networks.engines.load_engine`. A
        run may be resumed with another one.
    batch_size : int
        Exposures a batch: one task, one shard, one commit.
    n_workers : int or None
        Local Dask worker processes, or jobs of a batch system; None works in this process. A script that asks for
        workers needs ``if __name__ == "__main__":``, since they are spawned.
    scheduler : str or None
        Address of a running Dask scheduler to use instead, or a batch system; see `cascade.pipeline.dask.run_dask`.
    fresh : bool
        Start anew in a run directory of another configuration.
    models_dir : path or None
        Folder searched for models before the others.
    camera : str
        Name of the camera, or its layout file; see `Camera.load`. The models were trained on DECam alone.
    on_start : callable or None
        Told of the run before the first batch.
    on_batch : callable or None
        Told of every batch that was committed.
    on_event : callable or None
        Told of the dashboard, of retries and of lost schedulers: its name, and details. ``RUN/logs`` tells more.

    Returns
    -------
    Run
        Complete; see `cascade.runs.run.Run` for its tables and masks.

    Raises
    ------
    InputError, ModelError, StoreError, ConfigError
        If an input, a model, the run directory or an option cannot be used, or another run is at work on it; a single
        bad exposure is no error.
    OutageError
        If a store, file system or scheduler is away for long; call it again later.
    """
    if screen is None and (threshold, recall) != (None, None):
        msg = f"threshold and recall: expected none without a screen, got {threshold} and {recall}"
        raise ConfigError(msg)
    if None not in (threshold, recall):
        msg = f"threshold and recall: expected one of them, got {threshold} and {recall}"
        raise ConfigError(msg)
    check_engine(engine)
    screening = None if screen is None else _model(screen, "screen", models_dir)
    segmenting = _model(segment, "segment", models_dir)
    if screening is not None and threshold is None:
        threshold = screening.threshold if recall is None else promised_threshold(screening, recall)
    layout = Camera.load(camera)
    if layout.name != "decam":
        logger.warning("the networks were trained on DECam; on %s expect less of them", layout.instrument)
    reader = open_inputs(inputs, camera=layout.name)
    config = RunConfig(
        inputs="",
        n_exposures=len(reader),
        screen=None if screening is None else _identity(screening),
        segment=_identity(segmenting),
        threshold=threshold,
        batch_size=batch_size,
        camera=layout.name,
        classes=RunClass.of(segmenting.classes),
    )
    loader = NetworkLoader(
        None if screening is None else screening.folder.resolve(),
        segmenting.folder.resolve(),
        tuple(_identity(info) for info in (screening, segmenting) if info is not None),
        engine,
    )
    return _run(
        reader,
        config,
        loader,
        layout,
        out,
        n_workers=n_workers,
        scheduler=scheduler,
        fresh=fresh,
        details={"inputs": _names(inputs), "engine": engine},
        on_start=on_start,
        on_batch=on_batch,
        on_event=on_event,
    )


def promised_threshold(info: ModelInfo, recall: float) -> float:
    """
    The threshold with which a screen promises a recall.

    Raises
    ------
    ConfigError
        If it promises none as high.
    """
    enough = [guarantee for guarantee in info.guarantees if guarantee.recall >= recall]
    if not enough:
        promised = ", ".join(f"{guarantee.recall:g}" for guarantee in info.guarantees) or "none"
        msg = f"recall {recall:g}: {info.name} promises {promised}; `cascade calibrate` makes promises from labels"
        raise ConfigError(msg)
    best = max(enough, key=lambda guarantee: guarantee.threshold)
    logger.info(
        "%s: recall %g with confidence %g on exposures like those of %s (%d ghosted): threshold %.4g",
        info.name, best.recall, best.confidence, best.labels, best.n_ghosted, best.threshold,
    )  # fmt: skip
    return best.threshold


def run_stub(
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    batch_size: int = 256,
    n_workers: int | None = None,
    scheduler: str | None = None,
    fresh: bool = False,
    pause_s: float = 0.0,
    on_start: Callable[[Run], None] | None = None,
    on_batch: Callable[[BatchCounts], None] | None = None,
    on_event: Callable[..., None] | None = None,
) -> Run:
    """
    Do as `run_season` does with the stand-ins of `cascade.networks.stub` for networks; for benchmarks only.

    ``run.json`` names the models ``stub``, so no real run can be taken for one, or be resumed as one. The stand-ins
    sleep `pause_s` seconds an exposure, as if the networks computed on another device.
    """
    reader = open_inputs(inputs)
    return _run(
        reader,
        RunConfig("", len(reader), STUB, STUB, THRESHOLD, batch_size, classes=PAPER_RUN_CLASSES),
        StubLoader(pause_s),
        Camera.decam(),
        out,
        n_workers=n_workers,
        scheduler=scheduler,
        fresh=fresh,
        details={"inputs": _names(inputs), "engine": "stub"},
        on_start=on_start,
        on_batch=on_batch,
        on_event=on_event,
    )


def _run(
    reader: Reader,
    config: RunConfig,
    loader: Loader,
    camera: Camera,
    out: PathLike,
    *,
    n_workers: int | None,
    scheduler: str | None,
    fresh: bool,
    details: Mapping[str, Any],
    on_start: Callable[[Run], None] | None,
    on_batch: Callable[[BatchCounts], None] | None,
    on_event: Callable[..., None] | None,
) -> Run:
    """Run a season of any networks; `config` lacks what depends on the listing of the inputs."""
    storage = open_storage(os.fspath(out))
    check_usable(storage)
    serial = n_workers is None and scheduler is None
    # Networks that cannot be loaded must neither claim a new directory nor cost an old run.
    networks = loader() if serial and (fresh or find_run(storage) is None) else None
    listing = list_inputs(reader)
    with hold_lease(storage) as lease, closing(RunLog(storage)) as log:
        known = None if fresh else find_run(storage)
        reader, config, listing = _in_order_of(known, reader, config, listing)
        run = Run.create_or_resume(storage, config, listing=listing, fresh=fresh, details=details)
        pending = run.pending()
        started, n_done = monotonic(), 0

        def batch_done(counts: BatchCounts) -> None:
            nonlocal n_done
            n_done += counts.n_exposures
            log.write("batch", **asdict(counts))
            if on_batch is not None:
                on_batch(counts)
            lease.check()

        def happened(event: str, **details: object) -> None:
            log.write(event, **details)
            if on_event is not None:
                on_event(event, **details)

        log.write("start", n_exposures=config.n_exposures, n_pending=len(pending), workers=n_workers or scheduler or 1)
        if on_start is not None:
            on_start(run)
        if serial and pending:
            run_serial(reader, run, *(networks or loader()), camera, on_batch=batch_done)
        elif pending:
            from cascade.pipeline.dask import run_dask

            run_dask(reader, run, loader, camera, n_workers=n_workers, scheduler=scheduler,
                     on_batch=batch_done, on_event=happened)  # fmt: skip
        if pending:
            seconds = monotonic() - started
            session = {"n_exposures": n_done, "seconds": seconds, "exposures_per_s": n_done / seconds}
            run.annotate(last_session=session)
            log.write("complete", **session)
        elif run.summary().status != "complete":
            run.finish()
    return run


def _in_order_of(
    known: Run | None, reader: Reader, config: RunConfig, listing: pa.Table
) -> tuple[Reader, RunConfig, pa.Table]:
    """Reader, configuration and listing with the inputs in the order of the run that is there, new ones last."""
    inputs = fingerprint(listing)
    if known is None or (known.config.inputs, known.config.n_exposures) == (inputs, len(reader)):
        additions = () if known is None else known.config.additions
        return reader, replace(config, inputs=inputs, additions=additions), listing
    order = order_as(known.listing(), listing, known.storage.url)
    listing = listing.take(order)
    n_added = len(reader) - known.config.n_exposures
    additions = (*known.config.additions, n_added) if n_added else known.config.additions
    return reordered(reader, order), replace(config, inputs=fingerprint(listing), additions=additions), listing


def _names(inputs: PathLike | Sequence[PathLike]) -> list[str]:
    """Inputs as the user named them."""
    return [os.fspath(name) for name in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]


def _identity(info: ModelInfo) -> ModelId:
    """What makes a model the same model."""
    return ModelId(info.name, info.sha256, info.description_sha256)


def _model(name: str, task: Task, models_dir: PathLike | None) -> ModelInfo:
    """A model for a task, its weights verified before anything is written."""
    info = find_model(name, None if models_dir is None else Path(models_dir))
    if info.task != task:
        msg = f"model {name!r}: expected one to {task}, got one to {info.task}"
        raise ModelError(msg)
    verify_weights(info)
    return info
