"""A whole season in one call: inputs, models and a run directory, in this process or over Dask."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.inputs import Reader, open_inputs
from cascade.inputs.listing import list_inputs
from cascade.inputs.order import reordered
from cascade.inputs.time_limit import READ_LIMIT_S, limited
from cascade.networks.engines import check_engine
from cascade.networks.models import DEFAULT_MODELS
from cascade.networks.stub import STUB, THRESHOLD, StubLoader
from cascade.pipeline.batch import run_serial
from cascade.pipeline.isolated import process_suspects
from cascade.pipeline.loader import Loader, NetworkLoader, promised_threshold, verified_model
from cascade.pipeline.session import Callbacks, Plan, open_session
from cascade.pipeline.workers import Workers
from cascade.runs.classes import PAPER_RUN_CLASSES, RunClass
from cascade.runs.config import RunConfig
from cascade.runs.files import check_usable
from cascade.runs.inputs import input_details
from cascade.runs.run import Run, find_run
from cascade.runs.tables import BatchCounts
from cascade.storage import open_storage

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Season:
    """Exposures, and what is to be done with them; `config` lacks what depends on the listing of the inputs."""

    reader: Reader
    camera: Camera
    config: RunConfig
    loader: Loader
    details: Mapping[str, Any]


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
    retry_failed: bool = False,
    read_limit_s: float = READ_LIMIT_S,
    models_dir: PathLike | None = None,
    camera: str = "decam",
    on_start: Callable[[Run], None] | None = None,
    on_batch: Callable[[BatchCounts], None] | None = None,
    on_event: Callable[..., None] | None = None,
) -> Run:
    """
    Run the cascade on exposures into a run directory; call it again to resume after a kill.

    Parameters
    ----------
    inputs : path or sequence of paths
        Folders, glob patterns, zips, .npy stacks, Zarr previews, FITS exposures, images or manifests.
    out : path
        The run directory, or a URL (``s3://bucket/prefix``): new, empty, or a run of the same settings and of the same
        inputs, to which new ones may have been added since.
    screen, segment : str
        Names of models, or paths of model folders; `screen` None segments every exposure.
    threshold : float or None
        Screen score in [0, 1] from which an exposure is flagged; None takes the model's own.
    recall : float or None
        Use the threshold with which the screen guarantees this recall instead; see `cascade.training.calibrate`.
    engine : str
        Where the networks run: ``"auto"``, ``"keras"`` or ``"openvino"``; see `cascade.networks.engines.load_engine`. A
        run may be resumed with another one.
    batch_size : int
        Exposures a batch: one task, one shard, one commit.
    n_workers : int or None
        Local Dask worker processes, or jobs of a batch system; None runs in this process. A script that asks for
        workers needs ``if __name__ == "__main__":``, since they are spawned.
    scheduler : str or None
        Address of a running Dask scheduler to use instead, or a batch system; see `cascade.pipeline.workers`.
    fresh : bool
        Start over in a run directory of another configuration.
    retry_failed : bool
        Process the batches again in which an exposure failed, say because a disk was away.
    read_limit_s : float
        Seconds of CPU that reading an exposure may take; one that takes longer has failed. Waiting for a disk or a
        store does not count.
    models_dir : path or None
        Folder searched for models before the others.
    camera : str
        Name of the camera, or its layout file; see `Camera.load`. The models were trained on DECam alone.
    on_start : callable or None
        Called with the run before the first batch.
    on_batch : callable or None
        Called after each committed batch.
    on_event : callable or None
        Called with the name and the details of an event: the dashboard, a retry, a lost scheduler; ``RUN/logs`` has
        more.

    Returns
    -------
    Run
        Complete; see `cascade.runs.run.Run` for its tables and masks.

    Raises
    ------
    InputError, ModelError, StoreError, ConfigError
        If an input, a model, the run directory or an option cannot be used, or another run is active in it; a single
        bad exposure is not an error.
    OutageError
        If a store, file system or scheduler stays unavailable; call it again later.
    """
    if screen is None and (threshold, recall) != (None, None):
        msg = f"threshold and recall: expected none without a screen, got {threshold} and {recall}"
        raise ConfigError(msg)
    if None not in (threshold, recall):
        msg = f"threshold and recall: expected one of them, got {threshold} and {recall}"
        raise ConfigError(msg)
    check_engine(engine)
    screening = None if screen is None else verified_model(screen, "screen", models_dir)
    segmenting = verified_model(segment, "segment", models_dir)
    if screening is not None and threshold is None:
        threshold = screening.threshold if recall is None else promised_threshold(screening, recall)
    layout = Camera.load(camera)
    if layout.name != "decam":
        logger.warning("the networks were trained on DECam; expect lower performance on %s", layout.instrument)
    reader = limited(open_inputs(inputs, camera=layout.name), read_limit_s)
    season = _Season(
        reader,
        layout,
        RunConfig(
            inputs="",
            n_exposures=len(reader),
            screen=None if screening is None else screening.identity,
            segment=segmenting.identity,
            threshold=threshold,
            batch_size=batch_size,
            camera=layout.name,
            classes=RunClass.of(segmenting.classes),
        ),
        NetworkLoader.of(screening, segmenting, engine),
        {**input_details(_names(inputs)), "engine": engine},
    )
    workers = _workers(n_workers, scheduler)
    callbacks = Callbacks(on_start, on_batch, on_event)
    return _run(season, out, workers, callbacks, fresh=fresh, retry_failed=retry_failed)


def run_stub(
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    batch_size: int = 256,
    n_workers: int | None = None,
    scheduler: str | None = None,
    fresh: bool = False,
    retry_failed: bool = False,
    read_limit_s: float = READ_LIMIT_S,
    pause_s: float = 0.0,
    on_start: Callable[[Run], None] | None = None,
    on_batch: Callable[[BatchCounts], None] | None = None,
    on_event: Callable[..., None] | None = None,
) -> Run:
    """
    Do as `run_season` does with the stand-ins of `cascade.networks.stub` for networks; for benchmarks only.

    ``run.json`` names the models ``stub``, so no real run can be mistaken for one, or resumed as one. The stand-ins
    sleep `pause_s` seconds an exposure, as if the networks computed on another device.
    """
    reader = limited(open_inputs(inputs), read_limit_s)
    season = _Season(
        reader,
        Camera.decam(),
        RunConfig("", len(reader), STUB, STUB, THRESHOLD, batch_size, classes=PAPER_RUN_CLASSES),
        StubLoader(pause_s),
        {**input_details(_names(inputs)), "engine": "stub"},
    )
    workers = _workers(n_workers, scheduler)
    callbacks = Callbacks(on_start, on_batch, on_event)
    return _run(season, out, workers, callbacks, fresh=fresh, retry_failed=retry_failed)


def _run(
    season: _Season, out: PathLike, workers: Workers | None, callbacks: Callbacks, *, fresh: bool, retry_failed: bool
) -> Run:
    """Run a season through any networks, in this process if there are no workers."""
    storage = open_storage(os.fspath(out))
    check_usable(storage)
    # If the networks cannot be loaded, neither create a new directory nor delete an old run.
    networks = season.loader() if workers is None and (fresh or find_run(storage) is None) else None
    plan = Plan(season.config, list_inputs(season.reader), season.details, fresh, retry_failed)
    names = 1 if workers is None else workers.n_workers or workers.scheduler or 1
    with open_session(storage, plan, callbacks, workers=names) as session:
        run, reader = session.run, reordered(season.reader, session.order)
        if session.is_pending and workers is None:
            process_suspects(reader, run, season.loader, season.camera,
                             on_batch=session.batch_done, on_event=session.event)  # fmt: skip
            run_serial(reader, run, *(networks or season.loader()), season.camera, on_batch=session.batch_done)
        elif session.is_pending and workers is not None:
            from cascade.pipeline.dask import run_dask

            run_dask(reader, run, season.loader, season.camera, workers,
                     on_batch=session.batch_done, on_event=session.event)  # fmt: skip
    return run


def _names(inputs: PathLike | Sequence[PathLike]) -> list[str]:
    """Inputs as the user named them."""
    return [os.fspath(name) for name in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]


def _workers(n_workers: int | None, scheduler: str | None) -> Workers | None:
    """The workers asked for; None to run in this process."""
    return None if (n_workers, scheduler) == (None, None) else Workers(n_workers, scheduler)
