"""Figures of inter-annotator agreement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.core.exposure import UInt8Array
from cascade.evaluate.agreement import Agreement
from cascade.evaluate.ccd import GROUPS
from cascade.evaluate.figures import COLOURS, plain, save
from cascade.evaluate.overlays import draw_ccds
from cascade.evaluate.pixels import vote_fraction
from cascade.evaluate.summary import short_names
from cascade.inputs import open_inputs

_TITLES = {
    "ccd_f1": "CCD F1 (the paper's boxes, t = 0)",
    "pixel_iou": "pixel IoU",
    "instance_f1": "instance F1 at IoU 0.5",
}
_WHITE_LEVEL = 140.0  # grey level displayed as white


def draw_agreement(agreement: Agreement, camera: Camera, folder: Path, *, image: Path | None) -> list[str]:
    """
    Draw all figures of the study, as PNG and PDF.

    Parameters
    ----------
    agreement : Agreement
    camera : Camera
    folder : Path
        Output folder.
    image : Path or None
        The preview whose votes to draw, or only its name; None selects the image with the least agreement.

    Returns
    -------
    list of str
        Names without ending.

    Raises
    ------
    ConfigError
        If the image is not among the annotated ones.
    InputError
        If the file exists but is not a preview.
    """
    names = []
    votes = _votes(agreement, camera, image)  # first, to reject an unknown name early
    for what in _TITLES:
        for kind, figure in (
            ("pairs", _pairs(agreement.metrics, what)), ("leave_one_out", _leave_one_out(agreement.metrics, what))
        ):  # fmt: skip
            names.append(f"{what}_{kind}")
            save(figure, folder / names[-1])
    save(votes, folder / "votes")
    return [*names, "votes"]


def _pairs(metrics: Mapping[str, Any], what: str) -> Figure:
    """One matrix of annotators per group."""
    people, by_group = short_names(metrics["annotators"]), metrics["pairs"][what]
    side = max(2.6, 0.42 * len(people))
    figure = Figure(figsize=(side * len(by_group) + 1.8, side + 1.6), layout="constrained")
    axes = figure.subplots(1, len(by_group), sharey=True)
    ticks = range(len(people))
    for axis, (group, found) in zip(axes, by_group.items(), strict=True):
        matrix = np.array(found["matrix"], float)
        shown = axis.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
        for (row, column), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6,
                          color="black" if value > 0.6 else "white")  # fmt: skip
        axis.set_title(f"{group}: median {found['median']:.3f}", fontsize=9)
        axis.set_xticks(ticks, [plain(name) for name in people], rotation=90, fontsize=7)
        axis.set_yticks(ticks, [plain(name) for name in people], fontsize=7)
    figure.colorbar(shown, ax=axes, shrink=0.8)
    figure.suptitle(f"Annotators in pairs: {_TITLES[what]}", fontsize=10)
    return figure


def _leave_one_out(metrics: Mapping[str, Any], what: str) -> Figure:
    """One point per annotator, a bar for the median."""
    people, by_group = short_names(metrics["annotators"]), metrics["leave_one_out"][what]
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    axis = figure.subplots()
    spread = np.linspace(-0.25, 0.25, len(people))
    for k, found in enumerate(by_group.values()):
        median = found["median"]
        axis.fill_between([k - 0.38, k + 0.38], median["low"], median["high"], color="black", alpha=0.12, linewidth=0)
        axis.hlines(median["value"], k - 0.38, k + 0.38, color="black", linewidth=1.4)
        for j, value in enumerate(found["each"]):
            marker = "osD^vP*X"[j // len(COLOURS) % 8]
            axis.plot(k + spread[j], np.nan if value is None else value, marker, color=COLOURS[j % len(COLOURS)],
                      label=plain(people[j]) if k == 0 else None)  # fmt: skip
        axis.text(k, 0.02, f"{median['value']:.3f}", ha="center", fontsize=9)
    axis.set_xticks(range(len(by_group)), list(by_group))
    axis.set_ylim(0, 1.02)
    axis.set_ylabel(_TITLES[what])
    axis.grid(axis="y", alpha=0.3)
    whom = "each of the others, pooled" if what == "instance_f1" else "the majority of the others"
    axis.set_title(f"Each annotator against {whom}; bars: median, 95 % over images", fontsize=10)
    figure.legend(loc="outside lower center", ncols=min(len(people), 4), fontsize=8, frameon=False)
    return figure


def _votes(agreement: Agreement, camera: Camera, image: Path | None) -> Figure:
    """The share of annotators who marked each pixel of an image, by group."""
    if image is not None and image.name not in agreement.names:
        msg = f"{image}: expected an image that all annotators list, such as {agreement.names[0]}"
        raise ConfigError(msg)
    n = _most_contested(agreement) if image is None else agreement.names.index(image.name)
    grey = _preview(image, camera)
    fractions = vote_fraction([labelling.found[n] for labelling in agreement.labellings])
    figure = Figure(figsize=(3.2 * len(GROUPS) + 0.8, 3.9), layout="constrained")
    axes = figure.subplots(1, len(GROUPS))
    for axis, group, fraction in zip(axes, GROUPS, fractions, strict=True):
        axis.imshow(grey, cmap="gray", vmin=0, vmax=1)
        marked = np.ma.masked_equal(fraction, 0)
        shown = axis.imshow(marked, cmap="plasma", vmin=0, vmax=1, alpha=0.75, interpolation="nearest")
        draw_ccds(axis, camera)
        axis.set_title(group, fontsize=10)
        axis.set_axis_off()
    figure.colorbar(shown, ax=axes, shrink=0.8, label=f"share of {len(agreement.labellings)} annotators")
    figure.suptitle(plain(agreement.names[n]), fontsize=10)
    return figure


def _preview(image: Path | None, camera: Camera) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The preview in [0, 1], or an empty focal plane if the file does not exist."""
    if image is None or not image.is_file():
        return np.where(camera.labels > 0, 0.35, 0.0)
    pixels: UInt8Array = open_inputs([image]).read(0).image
    return np.clip(pixels / _WHITE_LEVEL, 0, 1)


def _most_contested(agreement: Agreement) -> int:
    """The image with most pixels on which annotators disagree."""
    contested = []
    for n in range(len(agreement.names)):
        everything = vote_fraction([labelling.found[n] for labelling in agreement.labellings])[0]
        contested.append(int(np.sum((everything > 0) & (everything < 1))))
    return int(np.argmax(contested))
