"""Predicted and true masks side by side, on the previews where they can be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray, UInt8Array
from cascade.evaluate.bootstrap import f1_score
from cascade.evaluate.evaluation import Evaluation
from cascade.evaluate.figures import plain, save
from cascade.evaluate.labelling import Labelling
from cascade.runs.previews import RunPreviews
from cascade.runs.run import Run

_N_PAIRS = 6
_COLUMNS = 4
_WHITE_LEVEL = 140.0  # grey level displayed as white
_OPACITY = 0.3
_BARE_LEVEL = 60  # of CCDs where there is no preview


def draw_overlays(evaluation: Evaluation, run: Run, camera: Camera, stem: Path, inputs: Sequence[str] = ()) -> bool:
    """
    Draw exposures from the worst to the best CCD F1: truth on the left, the run on the right.

    Parameters
    ----------
    evaluation : Evaluation
        With artifacts.
    run : Run
        Names its inputs, whose previews are drawn if they still exist.
    camera : Camera
    stem : Path
        PNG and PDF to write, without ending.
    inputs : sequence of paths
        Where the inputs are now, if they were moved, see `InputPlaces.of`.

    Returns
    -------
    bool
        False if nothing was drawn: no masks, or no exposure with any.
    """
    labelling = evaluation.system.labelling
    if not isinstance(labelling, Labelling) or evaluation.hits is None:
        return False
    hits = evaluation.hits[:, 0, 0, 0]
    scores = np.where(hits[:, 1:].any(axis=-1), f1_score(hits), np.nan)
    chosen = _spread(scores)
    if not chosen:
        return False
    previews = RunPreviews(run, inputs)
    rows = -(-2 * len(chosen) // _COLUMNS)
    figure = Figure(figsize=(3.1 * _COLUMNS, 3.3 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for k, n in enumerate(chosen):
        image = previews.read(evaluation.exposures[n])
        truth = consensus_plane([one.found[n].plane() for one in evaluation.truths])
        left, right = axes[2 * k : 2 * k + 2]
        draw_masks(left, image, truth, camera)
        n_people = len(evaluation.truths)
        of_whom = "" if n_people == 1 else f", majority of {n_people}"
        left.set_title(f"{plain(evaluation.names[n])}\ntruth{of_whom}", fontsize=8)
        draw_masks(right, image, labelling.found[n].plane(), camera)
        right.set_title(f"{plain(labelling.name)}\nCCD F1 {scores[n]:.2f}", fontsize=8)
    legend = [Patch(color=artifact.colour, label=artifact.label) for artifact in Artifact]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False, fontsize=9)
    figure.suptitle("Exposures from the worst to the best CCD F1 (all classes, t = 0)", fontsize=10)
    save(figure, stem)
    return True


def consensus_plane(planes: Sequence[UInt8Array]) -> UInt8Array:
    """The (H, W) mask plane of the annotators' majority vote, class by class."""
    stacked = np.stack(planes)
    plane = np.zeros(stacked.shape[1:], np.uint8)
    for artifact in Artifact:
        plane[2 * ((stacked & artifact.bit) > 0).sum(axis=0) > len(planes)] |= artifact.bit
    return plane


def draw_masks(axis: Axes, image: UInt8Array | None, plane: UInt8Array, camera: Camera) -> None:
    """One preview, or an empty focal plane, with coloured masks and the outlines of the CCDs."""
    bare = np.where(camera.labels > 0, _BARE_LEVEL, 0)
    grey = np.repeat(np.clip((bare if image is None else image) / _WHITE_LEVEL, 0, 1)[..., None], 3, axis=2)
    for artifact in Artifact:
        covered: BoolArray = (plane & artifact.bit) > 0
        grey[covered] = (1 - _OPACITY) * grey[covered] + _OPACITY * np.array(to_rgb(artifact.colour))
        if covered.any():
            axis.contour(covered, levels=[0.5], colors=[artifact.colour], linewidths=0.9)
    axis.imshow(grey, interpolation="nearest")
    draw_ccds(axis, camera)


def draw_ccds(axis: Axes, camera: Camera) -> None:
    """Outlines of the CCDs."""
    outlines = []
    for ccd in camera.ccds:
        rows, columns = (np.flatnonzero((camera.labels == ccd.ccdnum).any(axis=along)) for along in (1, 0))
        top, bottom, left, right = rows[0] - 0.5, rows[-1] + 0.5, columns[0] - 0.5, columns[-1] + 0.5
        outlines.append([(left, top), (right, top), (right, bottom), (left, bottom)])
    axis.add_collection(PolyCollection(outlines, facecolors="none", edgecolors="#8a8a8a", linewidths=0.3))


def _spread(scores: np.ndarray[Any, np.dtype[np.float64]]) -> list[int]:
    """A few exposures, evenly spaced from the worst to the best, among those with artifacts."""
    ranked = [int(n) for n in np.argsort(scores) if np.isfinite(scores[n])]
    if not ranked:
        return []
    return [ranked[k] for k in np.unique(np.linspace(0, len(ranked) - 1, _N_PAIRS).round().astype(int))]
