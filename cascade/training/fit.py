"""The training loop, which writes a model folder."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.networks.model_info import ModelInfo, Task, read_model
from cascade.networks.models import build_network, check_task, write_model
from cascade.networks.nets.classifier import ScreenTraining
from cascade.networks.nets.mask_rcnn import MaskRCNNTraining, mean_loss
from cascade.networks.nets.semantic import SemanticNet, SemanticTraining
from cascade.storage.atomic import read_json, written_aside
from cascade.training.batches import (
    EPOCH_STEPS,
    Batches,
    ScreenBatches,
    SegmentBatches,
    SemanticBatches,
)
from cascade.training.config import FitConfig, TrainConfig
from cascade.training.loss_curves import EventLog, plot_losses
from cascade.training.sources import AnnotatedExposures, TrainingData
from cascade.training.validate import Validation, copy_weights, screen_auc, segment_f1
from cascade.training.warm_start import transfer_weights

logger = logging.getLogger(__name__)

OnSteps = Callable[[int, str], None]
"""Progress callback: called with the number of gradient steps done since the last call, and a short message."""

_WARMUP_SHARE = 0.05
_GRADIENT_NORM = 5.0
_LOSS_WEIGHTS = {"mask": 2.0, "semantic": 8.0, "map": 8.0}  # CCD tables depend on the masks; the others weigh 1
_SEED_STATE = "seed_generator_state"  # Keras' name of the variable in a SeedGenerator
_DRAWS_PER_EPOCH = 1_000_000  # more than any generator draws in EPOCH_STEPS steps


def train(
    task: Task,
    config: TrainConfig,
    data: TrainingData,
    camera: Camera,
    out: Path,
    *,
    start: ModelInfo | None = None,
    on_steps: OnSteps | None = None,
) -> ModelInfo:
    """
    Train a network and write its model folder.

    Checkpoints are written to ``out/checkpoint``: repeating the call resumes from the last one, or returns the finished
    model. Delete that folder to retrain.

    Parameters
    ----------
    task : str
        ``"screen"`` or ``"segment"``.
    config : TrainConfig
    data : TrainingData
        Training data.
    camera : Camera
    out : Path
        The model folder; beside the model it gets `losses.csv`, `losses.png` and `logs` for TensorBoard.
    start : ModelInfo or None
        Initial weights for parts of the same name and shape; see `cascade.training.warm_start`.
    on_steps : callable or None
        Progress callback, called with steps and loss after each epoch; steps before a restart are included.

    Raises
    ------
    ConfigError
        If `out` holds the checkpoint of another configuration, or a model that was not trained there.
    ModelError
        If the architecture is unknown or not one for the task, or has nothing in common with `start`.
    """
    checkpoint = out / "checkpoint"
    state, finished = checkpoint / "state", checkpoint / "finished"
    _claim(checkpoint, config, data, start)
    if finished.is_file():
        logger.info("%s: already trained; delete %s to retrain", out, checkpoint)
        if on_steps is not None:
            on_steps(config.fit.steps, "already trained")
        return read_model(out)
    started = time.monotonic()
    keras.utils.set_random_seed(config.fit.seed)
    master = build_network(config.architecture, config.classes)  # float32 throughout
    check_task(config.architecture, task)
    if start is not None:
        transfer_weights(start, master, config.classes)  # its golden outputs are those of float32
    with _precision(config.fit.precision):
        network = build_network(config.architecture, config.classes)
        network.set_weights(master.get_weights())
        trained = _compiled(task, network, config)
        batches = _batches(task, trained, config, data, camera)
        validation = _validation(task, network, master, config, data, camera, checkpoint)
        callbacks = [
            # Before the checkpoint: after a kill the epoch is repeated, and repeating a validation is harmless.
            *([] if validation is None else [validation]),
            _Progress(out / "losses.csv", batches, config.fit, on_steps),
            # Two, since a kill may corrupt the one being written.
            keras.callbacks.BackupAndRestore(state, double_checkpoint=True, delete_checkpoint=False),
        ]
        callbacks.append(EventLog(out / "logs", EPOCH_STEPS))
        trained.fit(batches, epochs=-(-config.fit.steps // EPOCH_STEPS), shuffle=False, verbose=0, callbacks=callbacks)
    if validation is not None:
        master.load_weights(validation.weights)
    else:
        copy_weights(trained, network, master)
    info = write_model(
        out, master, task=task, architecture=config.architecture, classes=config.classes,
        threshold=config.threshold,
        semantic=config.semantic if getattr(master, "semantic_head", None) is not None else None,
        training={
            **data.description,
            **({"start": start.name, "start_sha256": start.sha256} if start is not None else {}),
            **({"best_step": read_json(checkpoint / "best.json")["step"]} if validation is not None else {}),
            "steps": config.fit.steps,
            "batch": config.fit.batch,
            "minutes": round((time.monotonic() - started) / 60, 1),
        },
    )  # fmt: skip
    plot_losses(out / "losses.csv", out / "losses.png")
    finished.touch()
    shutil.rmtree(state)
    return info


def _compiled(task: Task, network: keras.Model, config: TrainConfig) -> keras.Model:
    """The compiled training model: a network with its losses."""
    fit = config.fit
    n_warmup = max(1, round(_WARMUP_SHARE * fit.steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, fit.steps - n_warmup), warmup_target=fit.learning_rate, warmup_steps=n_warmup
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=fit.weight_decay, global_clipnorm=_GRADIENT_NORM, use_ema=fit.average > 0,
        ema_momentum=fit.average,
    )  # fmt: skip
    # On CPUs, TensorFlow's XLA bypasses oneDNN and its bfloat16 kernels; JAX without it would run op by op.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    if task == "screen":
        trained = ScreenTraining(network)
    elif isinstance(network, SemanticNet):
        trained = SemanticTraining(network)
    else:
        trained = MaskRCNNTraining(network, n_anchors=256, n_regions=64, n_positive=16, seed=fit.seed)
    weights = {name: _LOSS_WEIGHTS.get(name, 1.0) for name in trained.loss_names}
    trained.compile(optimizer, loss=dict.fromkeys(weights, mean_loss), loss_weights=weights, jit_compile=jit)
    return trained


def _batches(task: Task, trained: keras.Model, config: TrainConfig, data: TrainingData, camera: Camera) -> Batches:
    """The batches of a training model."""
    real = None
    if data.annotated is not None and config.real is not None:
        real = AnnotatedExposures(data.annotated, camera, config.real, data.season)
    share = config.real.share if config.real is not None else 0.0
    if isinstance(trained, ScreenTraining):
        return ScreenBatches(real, data.season, share, camera, config.fit, config.classes)
    if isinstance(trained, SemanticTraining):
        return SemanticBatches(real, data.season, share, camera, config.fit, config.classes)
    batches = SegmentBatches(real, data.season, share, camera, config.fit, config.classes)
    batches.losses = trained.loss_names
    return batches


def _validation(
    task: Task, network: keras.Model, master: keras.Model, config: TrainConfig, data: TrainingData, camera: Camera,
    checkpoint: Path,
) -> Validation | None:  # fmt: skip
    """The configured validation, if any."""
    season, fit = data.season, config.fit
    if not fit.validate_every or season is None:
        return None

    def score(scored: keras.Model) -> float:
        if task == "screen":
            return screen_auc(scored, season, config.classes)
        return segment_f1(
            scored, season, camera, threshold=config.threshold, semantic=config.semantic, classes=config.classes
        )

    return Validation(task, network, master, score, checkpoint, fit, EPOCH_STEPS)


def _claim(checkpoint: Path, config: TrainConfig, data: TrainingData, start: ModelInfo | None) -> None:
    """Claim a checkpoint folder for this training, or refuse one of another."""
    marker = checkpoint / "training.json"
    initial = None if start is None else start.sha256
    ours = json.dumps({"config": config.text, "start": initial, **data.description})
    if not marker.is_file():
        if (checkpoint.parent / "model.toml").exists():
            msg = f"{checkpoint.parent}: holds a model that was not trained here; choose another --out"
            raise ConfigError(msg)
        checkpoint.mkdir(parents=True, exist_ok=True)
        with written_aside(marker) as aside:
            aside.write_text(ours, encoding="utf-8")
    elif marker.read_text(encoding="utf-8") != ours:
        msg = f"{checkpoint}: holds the checkpoint of another configuration; choose another --out or delete it"
        raise ConfigError(msg)


class _Progress(keras.callbacks.Callback):
    """Seed all random generators by epoch, also after a restart, and write the mean losses to a CSV file."""

    def __init__(self, path: Path, batches: Batches, fit: FitConfig, on_steps: OnSteps | None) -> None:
        super().__init__()
        self._path, self._batches, self._fit, self._on_steps = path, batches, fit, on_steps
        self._n_reported = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the epoch of the batches and the states of the random generators, which checkpoints do not hold."""
        del logs
        self._batches.epoch = epoch
        for variable in self.model.variables:
            if variable.name == _SEED_STATE:
                variable.assign([self._fit.seed, epoch * _DRAWS_PER_EPOCH])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one row and report progress."""
        step = (epoch + 1) * EPOCH_STEPS
        row = {"step": step, **{k: round(float(v), 5) for k, v in (logs or {}).items()}}
        rows = [*(old for old in self._rows() if int(old["step"]) < step), row]
        with written_aside(self._path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for one in rows for name in one)))
            writer.writeheader()
            writer.writerows(rows)
        logger.info("step %d of %d: loss %.4f", step, self._fit.steps, row["loss"])
        if self._on_steps is not None:
            done = min(step, self._fit.steps)
            self._on_steps(done - self._n_reported, f"loss {row['loss']:.3f}")
            self._n_reported = done

    def _rows(self) -> list[dict[str, Any]]:
        """Rows written so far, also before a restart."""
        if not self._path.is_file():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Set the Keras dtype policy temporarily."""
    before = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_dtype_policy(policy)
    except ValueError as error:
        msg = f"precision: expected a Keras dtype policy, got {policy!r}"
        raise ConfigError(msg) from error
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)
