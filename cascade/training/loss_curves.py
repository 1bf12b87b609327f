"""What a training leaves to look at: event files for TensorBoard, and its loss curves as a picture."""

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

    It must come after the callbacks that add to the logs.

    Parameters
    ----------
    folder : Path
        For TensorBoard's ``--logdir``.
    epoch_steps : int
        Steps an epoch.
    """

    def __init__(self, folder: Path, epoch_steps: int) -> None:
        super().__init__()
        self._folder, self._epoch_steps = folder, epoch_steps

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one value each."""
        step = (epoch + 1) * self._epoch_steps
        with SummaryWriter(str(self._folder), filename_suffix=f".{step}") as writer:
            for name, value in (logs or {}).items():
                writer.add_scalar(name, float(value), step)


def plot_losses(table: Path, picture: Path) -> None:
    """
    Draw the columns of a `losses.csv` over the steps, each relative to its first value.

    Parameters
    ----------
    table : Path
        Columns `step`, `loss` and others; empty cells are left out.
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
        said = [(int(row["step"]), float(row[name])) for row in rows if name != "step" and row[name]]
        if not said:
            continue
        steps, values = np.array(said).T
        kernel = np.ones(min(_SMOOTH, len(values)))
        smooth = np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
        axes.plot(steps, smooth, label=name.removesuffix("_loss"), lw=2.0 if name == "loss" else 1.0)
    axes.set(xlabel="gradient steps", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(picture, dpi=120)
    plt.close(figure)
