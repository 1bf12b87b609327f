"""A picture of one exposure: its preview, the masks coloured by class, and the outlines of its CCDs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import UInt8Array

VETO_COLOUR = "#F0E442"
"""Colour of the outlines of vetoed CCDs."""

_MASK_OPACITY = 0.3
_WHITE_LEVEL = 140.0  # grey level displayed as white; the sky is at ~50, 99 % of all pixels lie below 190


@dataclass(frozen=True, slots=True)
class Panel:
    """
    The data of one exposure to draw.

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
                edgecolor=VETO_COLOUR if vetoed else "#8a8a8a", linewidth=1.1 if vetoed else 0.3,
                zorder=3 if vetoed else 2,
            )
        )  # fmt: skip
        if vetoed:
            axis.text(
                columns.mean(), rows.mean(), str(ccd.ccdnum), color=VETO_COLOUR, fontsize=6, ha="center", va="center",
                path_effects=[withStroke(linewidth=1.2, foreground="black")],
            )  # fmt: skip
    axis.set_title(panel.title, fontsize=8, pad=2)
