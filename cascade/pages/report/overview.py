"""One picture of a run: previews with coloured masks and the outlines of the CCDs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import UInt8Array

_VETO_COLOUR = "#F0E442"
_COLUMNS = 4
_PANEL_INCHES = 3.0
_MASK_OPACITY = 0.3
_WHITE_LEVEL = 140.0  # grey level shown as white; the sky is at ~50, 99 % of all pixels lie below 190


@dataclass(frozen=True, slots=True)
class Panel:
    """
    What to show of one exposure.

    Attributes
    ----------
    title
        Line above the picture.
    image
        (400, 400) uint8 preview.
    mask
        (400, 400) uint8 mask plane of `Artifact.bit` flags.
    vetoed
        Numbers of the CCDs to outline and to name.
    """

    title: str
    image: UInt8Array
    mask: UInt8Array
    vetoed: Collection[int]


def draw_overview(panels: Sequence[Panel], camera: Camera, path: Path, *, title: str) -> None:
    """
    Draw exposures side by side into a PNG.

    Parameters
    ----------
    panels : sequence of Panel
        In the order of the picture; an empty one says so in words.
    camera : Camera
        On the grid of the previews.
    path : Path
        The PNG to write.
    title : str
        Line above all.
    """
    n_rows = max(1, -(-len(panels) // _COLUMNS))
    figure = Figure(
        figsize=(_COLUMNS * _PANEL_INCHES, n_rows * (_PANEL_INCHES + 0.2) + 0.6), dpi=130, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, _COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, panel in zip(axes, panels, strict=False):
        draw_panel(axis, panel, camera)
    if not panels:
        axes[0].text(0, 0.5, "No exposure was flagged.", fontsize=12)
    figure.suptitle(title, fontsize=11)
    legend = [Patch(color=artifact.colour, label=artifact.label) for artifact in Artifact]
    legend.append(Patch(facecolor="none", edgecolor=_VETO_COLOUR, label="vetoed CCD"))
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), fontsize=9, frameon=False)
    figure.savefig(path)


def draw_panel(axis: Axes, panel: Panel, camera: Camera) -> None:
    """Draw one exposure into axes."""
    grey = np.repeat(np.clip(panel.image / _WHITE_LEVEL, 0, 1)[..., None], 3, axis=2)
    for artifact in Artifact:
        covered = (panel.mask & artifact.bit) > 0
        grey[covered] = (1 - _MASK_OPACITY) * grey[covered] + _MASK_OPACITY * np.array(to_rgb(artifact.colour))
        if covered.any():
            axis.contour(covered, levels=[0.5], colors=[artifact.colour], linewidths=0.9)
    axis.imshow(grey, interpolation="nearest")
    for ccd in camera.ccds:
        rows, columns = (np.flatnonzero((camera.labels == ccd.ccdnum).any(axis=axis_)) for axis_ in (1, 0))
        vetoed = ccd.ccdnum in panel.vetoed
        axis.add_patch(
            Rectangle(
                (columns[0] - 0.5, rows[0] - 0.5), len(columns), len(rows), fill=False,
                edgecolor=_VETO_COLOUR if vetoed else "#8a8a8a", linewidth=1.1 if vetoed else 0.3,
                zorder=3 if vetoed else 2,
            )
        )  # fmt: skip
        if vetoed:
            axis.text(
                columns.mean(), rows.mean(), str(ccd.ccdnum), color=_VETO_COLOUR, fontsize=6, ha="center", va="center",
                path_effects=[withStroke(linewidth=1.2, foreground="black")],
            )  # fmt: skip
    axis.set_title(panel.title, fontsize=8, pad=2)
