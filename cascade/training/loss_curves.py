"""Training logs: event files for TensorBoard, and a plot of the loss curves."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tensorboardX import SummaryWriter

_SMOOTH = 5  # rows


class EventLog(keras.callbacks.Callback):
    """
    Write all losses and validation scores for TensorBoard, on any backend.

    Must come after the callbacks that add to the logs.

    Parameters
    ----------
    folder : Path
        For TensorBoard's ``--logdir``.
    epoch_steps : int
        Steps per epoch.
    """

    def __init__(self, folder: Path, epoch_steps: int) -> None:
        super().__init__()
        self._folder, self._epoch_steps = folder, epoch_steps

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one value of each."""
        step = (epoch + 1) * self._epoch_steps
        with SummaryWriter(str(self._folder), filename_suffix=f".{step}") as writer:
            for name, value in (logs or {}).items():
                writer.add_scalar(name, float(value), step)


def plot_losses(table: Path, picture: Path) -> None:
    """
    Plot the smoothed columns of a `losses.csv` over the steps.

    Parameters
    ----------
    table : Path
        Columns `step`, `loss` and others; empty cells are skipped.
    picture : Path
        PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name in rows[0]:
        points = [(int(row["step"]), float(row[name])) for row in rows if name != "step" and row[name]]
        if not points:
            continue
        steps, values = np.array(points).T
        kernel = np.ones(min(_SMOOTH, len(values)))
        smooth = np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
        axes.plot(steps, smooth, label=name.removesuffix("_loss"), lw=2.0 if name == "loss" else 1.0)
    axes.set(xlabel="gradient steps", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(picture, dpi=120)
    plt.close(figure)
