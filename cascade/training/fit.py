"""The fit loops, and what they leave behind: a model folder."""

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

from cascade.atomic import written_aside
from cascade.camera import Camera
from cascade.errors import ConfigError
from cascade.models import ModelInfo, Task, build_network, check_task, read_model, write_model
from cascade.nets.mask_rcnn import LOSSES, MaskRCNNTraining, mean_loss
from cascade.training.annotated import AnnotatedSet
from cascade.training.batches import EPOCH_STEPS, Batches, ScreenBatches, SegmentBatches
from cascade.training.config import FitConfig, TrainConfig

logger = logging.getLogger(__name__)

OnSteps = Callable[[int, str], None]
"""Told of how many more gradient steps are done, and a few words."""

_WARMUP_SHARE = 0.05
_GRADIENT_NORM = 5.0
_LOSS_WEIGHTS = {"mask": 2.0, "semantic": 4.0}  # the CCD tables live on the masks; the rest weigh 1
_SEED_STATE = "seed_generator_state"  # Keras' name of the variable in a SeedGenerator
_DRAWS_PER_EPOCH = 1_000_000  # more than EPOCH_STEPS steps take from any generator


def train(
    task: Task,
    config: TrainConfig,
    annotated: AnnotatedSet,
    camera: Camera,
    out: Path,
    *,
    on_steps: OnSteps | None = None,
) -> ModelInfo:
    """
    Train a network and write its model folder.

    Checkpoints lie in ``out/checkpoint``; the same call after a kill goes on from the last one, and after the end
    returns the finished model. Delete that folder to train anew.

    Parameters
    ----------
    task : str
        ``"screen"`` or ``"segment"``.
    config : TrainConfig
    annotated : AnnotatedSet
        What to learn from.
    camera : Camera
    out : Path
        The model folder; beside the model it gets `losses.csv`.
    on_steps : callable or None
        Told of every so many steps done, those before a restart included, and of the loss.

    Raises
    ------
    ConfigError
        If `out` holds the checkpoint of another configuration, or a model that was not trained there.
    ModelError
        If the architecture is unknown or not one for the task.
    """
    checkpoint = out / "checkpoint"
    state, finished = checkpoint / "state", checkpoint / "finished"
    _claim(checkpoint, config, annotated)
    if finished.is_file():
        logger.info("%s: already trained; delete %s to train anew", out, checkpoint)
        if on_steps is not None:
            on_steps(config.fit.steps, "trained before")
        return read_model(out)
    started = time.monotonic()
    keras.utils.set_random_seed(config.fit.seed)
    with _precision(config.fit.precision):
        network = build_network(config.architecture)
        check_task(config.architecture, task)
        trained, batches = _prepare(task, network, config, annotated, camera)
        trained.fit(
            batches,
            epochs=-(-config.fit.steps // EPOCH_STEPS),
            shuffle=False,
            verbose=0,
            callbacks=[
                _Progress(out / "losses.csv", batches, config.fit, on_steps),
                # Two, since a kill may tear the one that is being written.
                keras.callbacks.BackupAndRestore(state, double_checkpoint=True, delete_checkpoint=False),
            ],
        )
    plain = build_network(config.architecture)  # float32 throughout
    plain.set_weights(network.get_weights())
    info = write_model(
        out, plain, task=task, architecture=config.architecture, threshold=config.threshold,
        training={
            "exposures": list(annotated.expnums),
            "annotators": len(annotated.annotators),
            "steps": config.fit.steps,
            "batch": config.fit.batch,
            "minutes": round((time.monotonic() - started) / 60, 1),
        },
    )  # fmt: skip
    finished.touch()
    shutil.rmtree(state)
    return info


def _prepare(
    task: Task, network: keras.Model, config: TrainConfig, annotated: AnnotatedSet, camera: Camera
) -> tuple[keras.Model, Batches]:
    """Compile what is to be fitted, and open its batches."""
    fit = config.fit
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        fit.steps,
        warmup_target=fit.learning_rate,
        warmup_steps=max(1, round(_WARMUP_SHARE * fit.steps)),
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=fit.weight_decay, global_clipnorm=_GRADIENT_NORM)
    # On CPUs, TensorFlow's XLA bypasses oneDNN and its bfloat16 kernels; JAX without it would run op by op.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    if task == "screen":
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        network.compile(optimizer, loss=loss, jit_compile=jit)
        return network, ScreenBatches(annotated, camera, config.data, fit)
    trained = MaskRCNNTraining(network, n_anchors=256, n_regions=64, n_positive=16, seed=fit.seed)
    weights = {name: _LOSS_WEIGHTS.get(name, 1.0) for name in LOSSES}
    trained.compile(optimizer, loss=dict.fromkeys(LOSSES, mean_loss), loss_weights=weights, jit_compile=jit)
    return trained, SegmentBatches(annotated, camera, config.data, fit)


def _claim(checkpoint: Path, config: TrainConfig, annotated: AnnotatedSet) -> None:
    """Mark a checkpoint folder as belonging to this training, or refuse one that belongs to another."""
    mark = checkpoint / "training.json"
    ours = json.dumps({"config": config.text, "expnums": annotated.expnums})
    if not mark.is_file():
        if (checkpoint.parent / "model.toml").exists():
            msg = f"{checkpoint.parent}: holds a model that was not trained here; choose another --out"
            raise ConfigError(msg)
        checkpoint.mkdir(parents=True, exist_ok=True)
        with written_aside(mark) as aside:
            aside.write_text(ours, encoding="utf-8")
    elif mark.read_text(encoding="utf-8") != ours:
        msg = f"{checkpoint}: holds the checkpoint of another configuration; choose another --out or delete it"
        raise ConfigError(msg)


class _Progress(keras.callbacks.Callback):
    """Tell all that is random which epoch it is, also after a restart, and write the mean losses to a CSV file."""

    def __init__(self, path: Path, batches: Batches, fit: FitConfig, on_steps: OnSteps | None) -> None:
        super().__init__()
        self._path, self._batches, self._fit, self._on_steps = path, batches, fit, on_steps
        self._n_told = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Move on the batches and, since no checkpoint holds them, the states of the random generators."""
        del logs
        self._batches.epoch = epoch
        for variable in self.model.variables:
            if variable.name == _SEED_STATE:
                variable.assign([self._fit.seed, epoch * _DRAWS_PER_EPOCH])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one row."""
        step = (epoch + 1) * EPOCH_STEPS
        row = {"step": step, **{k: round(float(v), 5) for k, v in (logs or {}).items()}}
        with self._path.open("a" if epoch else "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if not epoch:
                writer.writeheader()
            writer.writerow(row)
        logger.info("step %d of %d: loss %.4f", step, self._fit.steps, row["loss"])
        if self._on_steps is not None:
            done = min(step, self._fit.steps)
            self._on_steps(done - self._n_told, f"loss {row['loss']:.3f}")
            self._n_told = done


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Set the Keras dtype policy for a while."""
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
