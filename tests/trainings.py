"""Short trainings of tiny networks, for tests: configurations, and a witness of every step."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from cascade.networks.model_info import ModelInfo
from cascade.networks.models import load_network
from cascade.training import batches, fit
from cascade.training.config import FitConfig, RealConfig, SeasonConfig, TrainConfig

EPOCH_STEPS = 2
"""A checkpoint, in these trainings."""

REAL = RealConfig("i", "a", share=0.5, clean_share=0.4, injected_share=0.2, warp_share=0.5)
FIT = FitConfig(
    steps=6, batch=2, learning_rate=1e-2, weight_decay=0.01, average=0.8, validate_every=2, patience=9,
    precision="float32", seed=11,
)  # fmt: skip


class Killed(BaseException):
    """Stands for a signal."""


def shorten_epochs(patch) -> None:
    """Let every epoch have only a few steps."""
    for module in (batches, fit):
        patch.setattr(module, "EPOCH_STEPS", EPOCH_STEPS)


def train_config(architecture, season: SeasonConfig, **changes) -> TrainConfig:
    """A configuration of a few steps; `changes` are those of `FitConfig`."""
    return TrainConfig(
        architecture=architecture, threshold=0.4, semantic=0.6, real=REAL, season=season, fit=replace(FIT, **changes),
        text=str(architecture["name"]),
    )  # fmt: skip


def kill_at(monkeypatch, epoch: int):
    """Die as soon as an epoch begins; returns how to stop dying."""
    begin = fit._Progress.on_epoch_begin

    def dying(self, at, logs=None):
        begin(self, at, logs)
        if at == epoch:
            raise Killed

    monkeypatch.setattr(fit._Progress, "on_epoch_begin", dying)
    return lambda: monkeypatch.setattr(fit._Progress, "on_epoch_begin", begin)


class Witness:
    """Notes the learning rate and the weights after every step of a training."""

    def __init__(self, patch) -> None:
        self.rates: list[float] = []
        self.weights: list[list[np.ndarray]] = []

        def on_train_batch_end(progress, batch, logs=None):
            self._note(progress.model)

        patch.setattr(fit._Progress, "on_train_batch_end", on_train_batch_end, raising=False)

    def _note(self, model: keras.Model) -> None:
        self.rates.append(float(model.optimizer.learning_rate))
        self.weights.append([np.array(keras.ops.convert_to_numpy(value)) for value in model.trainable_variables])

    def averaged(self, share: float, n_steps: int | None = None) -> list[np.ndarray]:
        """The mean that keeps a share of itself every step, after some steps, by its definition."""
        mean = self.weights[0]
        for weights in self.weights[1:n_steps]:
            mean = [share * old + (1 - share) * new for old, new in zip(mean, weights, strict=True)]
        return mean


def trainable(info: ModelInfo) -> list[np.ndarray]:
    """Trainable weights of a model folder."""
    return [np.asarray(keras.ops.convert_to_numpy(value)) for value in load_network(info).trainable_variables]


def rows(path: Path) -> list[dict[str, str]]:
    """A CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def close(ours: list[np.ndarray], theirs: list[np.ndarray], atol: float = 2e-3) -> bool:
    """Whether weights are the same, but for float16 and the order of sums."""
    return [a.shape for a in ours] == [b.shape for b in theirs] and all(
        np.allclose(a, b, rtol=1e-5 if atol else 0, atol=atol) for a, b in zip(ours, theirs, strict=True)
    )
