"""A whole season in one call: inputs, models and a run directory, in this process or over Dask."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade.camera import Camera
from cascade.engines import check_engine
from cascade.errors import ConfigError, ModelError
from cascade.model_info import ModelInfo, Task, read_model
from cascade.models import DEFAULT_MODELS, find_model, verify_weights
from cascade.pipeline import fingerprint, run_serial
from cascade.readers import open_inputs
from cascade.run_config import ModelId, RunConfig
from cascade.screen import NetworkScreener, Screener
from cascade.segment import NetworkSegmenter, Segmenter
from cascade.store import Run
from cascade.tables import BatchCounts

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
        Where they run; see `cascade.engines.load_engine`.
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
) -> Run:
    """
    Take exposures through the cascade into a run directory; call it again to go on after a kill.

    Parameters
    ----------
    inputs : path or sequence of paths
        Folders, glob patterns, zips, .npy stacks, Zarr previews, FITS exposures, images or manifests.
    out : path
        The run directory: new, empty, or a run of the same inputs and settings.
    screen, segment : str
        Names of models, or paths of model folders; `screen` None segments every exposure.
    threshold : float or None
        Screen score in [0, 1] from which an exposure is flagged; None takes the model's own.
    recall : float or None
        Take the threshold with which the screen promises this recall instead; see `cascade.calibrate`.
    engine : str
        Where the networks run: ``"auto"``, ``"keras"`` or ``"openvino"``; see `cascade.engines.load_engine`. A run may
        be resumed with another one.
    batch_size : int
        Exposures a batch: one task, one shard, one commit.
    n_workers : int or None
        Local Dask worker processes; None works in this process. A script that asks for workers needs
        ``if __name__ == "__main__":``, since they are spawned.
    scheduler : str or None
        Address of a running Dask scheduler to use instead.
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

    Returns
    -------
    Run
        Complete; see `cascade.store.Run` for its tables and masks.

    Raises
    ------
    InputError, ModelError, StoreError, ConfigError
        If an input, a model, the run directory or an option cannot be used; a single bad exposure is no error.
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
        inputs=fingerprint(reader),
        n_exposures=len(reader),
        screen=None if screening is None else _identity(screening),
        segment=_identity(segmenting),
        threshold=threshold,
        batch_size=batch_size,
        camera=layout.name,
    )
    loader = NetworkLoader(
        None if screening is None else screening.folder.resolve(),
        segmenting.folder.resolve(),
        tuple(_identity(info) for info in (screening, segmenting) if info is not None),
        engine,
    )
    serial = n_workers is None and scheduler is None
    out = Path(out)
    # Networks that cannot be loaded must neither claim a new directory nor cost an old run.
    networks = loader() if serial and (fresh or not (out / "run.json").exists()) else None
    names = [os.fspath(name) for name in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    run = Run.create_or_resume(out, config, fresh=fresh, details={"inputs": names, "engine": engine})
    if on_start is not None:
        on_start(run)
    if not run.pending():
        if run.summary().status != "complete":
            run.finish()
    elif serial:
        run_serial(reader, run, *(networks or loader()), layout, on_batch=on_batch)
    else:
        from cascade.parallel import run_dask

        run_dask(reader, run, loader, layout, n_workers=n_workers, scheduler=scheduler, on_batch=on_batch)
    return run


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
