"""Validation during training on held-out synthetic exposures, with early stopping on the best weights."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.evaluate import CcdMetrics, affected_ccds
from cascade.networks.engines import KerasEngine
from cascade.networks.model_info import Task
from cascade.networks.screen import NetworkScreener
from cascade.networks.segment import NetworkSegmenter
from cascade.storage.atomic import read_json, write_json, written_aside
from cascade.training.config import FitConfig
from cascade.training.sources import SyntheticSeason

logger = logging.getLogger(__name__)

_N_SEGMENTED = 192  # a screen is validated on all held-out exposures
_BLOCK = 32


def screen_auc(network: keras.Model, season: SyntheticSeason, classes: Sequence[Artifact] = tuple(Artifact)) -> float:
    """ROC AUC of a screen for some classes on the held-out exposures of a season."""
    samples = [season.sample(n).of_classes(classes) for n in season.held_out]
    scores = NetworkScreener(KerasEngine(network, "screen")).score(np.stack([sample.image for sample in samples]))
    return float(roc_auc_score([len(sample.found) > 0 for sample in samples], scores))


def segment_f1(
    network: keras.Model, season: SyntheticSeason, camera: Camera, *, threshold: float, semantic: float,
    classes: Sequence[Artifact] = tuple(Artifact),
) -> float:  # fmt: skip
    """CCD F1 of all classes together, area threshold 0, on some of the held-out exposures of a season."""
    engine = KerasEngine(network, "segment")
    segmenter = NetworkSegmenter(engine, min_score=threshold, semantic=semantic, classes=classes)
    truth, guess = [], []
    for start in range(0, min(_N_SEGMENTED, len(season.held_out)), _BLOCK):
        samples = [season.sample(n).of_classes(classes) for n in season.held_out[start : start + _BLOCK]]
        found = segmenter.segment(np.stack([sample.image for sample in samples]))
        truth += [sample.marked[-1] > 0 for sample in samples]
        guess += [np.any(instances.masks, axis=0) for instances in found]
    return CcdMetrics.of(*(affected_ccds(np.stack(masks), camera) for masks in (truth, guess))).f1


class Validation(keras.callbacks.Callback):
    """
    Validate a network periodically, keep its best weights and stop early.

    If the optimizer averages the weights, the averages are validated and kept.

    Parameters
    ----------
    task : str
    network : keras.Model
        The network itself; the fitted model may wrap it.
    master : keras.Model
        A copy of it in float32, which is validated.
    score : callable
        Metric of the copy; higher is better.
    folder : Path
        Output folder of `best.weights.h5`, `best.json` and `validation.csv`.
    fit : FitConfig
    epoch_steps : int
        Steps per epoch.
    """

    def __init__(
        self,
        task: Task,
        network: keras.Model,
        master: keras.Model,
        score: Callable[[keras.Model], float],
        folder: Path,
        fit: FitConfig,
        epoch_steps: int,
    ) -> None:
        super().__init__()
        self._name = "roc_auc" if task == "screen" else "ccd_f1"
        self._network, self._master, self._score = network, master, score
        self._folder, self._fit, self._epoch_steps = folder, fit, epoch_steps
        self._n_epochs = max(1, round(fit.validate_every / epoch_steps))

    @property
    def weights(self) -> Path:
        """The best weights so far."""
        return self._folder / "best.weights.h5"

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate, if due or at the end."""
        done = (epoch + 1) * self._epoch_steps
        if (epoch + 1) % self._n_epochs and done < self._fit.steps:
            return
        copy_weights(self.model, self._network, self._master)
        got = self._score(self._master)
        if logs is not None:
            logs[f"val_{self._name}"] = got
        best = read_json(self._folder / "best.json") if (self._folder / "best.json").is_file() else {}
        before = [row for row in self._rows() if int(row["step"]) < done]
        with written_aside(self._folder / "validation.csv") as aside, aside.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", self._name])
            writer.writerows([row["step"], row[self._name]] for row in before)
            writer.writerow([done, round(got, 5)])
        logger.info("step %d: %s %.4f on held-out synthetic exposures", done, self._name, got)
        if got >= best.get("score", -1.0) or best.get("step", 0) >= done:
            self._master.save_weights(self.weights)
            write_json(self._folder / "best.json", {"step": done, "score": got})
        elif done - best["step"] >= self._fit.patience * self._n_epochs * self._epoch_steps:
            logger.info("no improvement since step %d: early stopping", best["step"])
            self.model.stop_training = True

    def _rows(self) -> list[dict[str, str]]:
        """Earlier validations, also before a restart."""
        path = self._folder / "validation.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def copy_weights(fitted: keras.Model, network: keras.Model, master: keras.Model) -> None:
    """Copy the weights of a network, averaged if its optimizer averages them, into a float32 copy."""
    optimizer = fitted.optimizer
    trained = [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in fitted.trainable_variables]
    optimizer.finalize_variable_values(fitted.trainable_variables)
    master.set_weights(network.get_weights())
    for variable, value in zip(fitted.trainable_variables, trained, strict=True):
        variable.assign(value)
