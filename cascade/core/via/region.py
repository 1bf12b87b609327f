"""Outlined artifacts, and filling the outlines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from skimage import draw

from cascade.core.artifact import Artifact
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray, Instances, tight_boxes


@dataclass(frozen=True, slots=True)
class Region:
    """
    One outlined artifact.

    Attributes
    ----------
    artifact
        Its class.
    shape
        Name of the VIA shape: polygon, polyline (a closed outline), circle, ellipse or rect.
    rows, columns
        Corners of the outline in pixels for polygon, polyline and rect; the centre for circle and ellipse.
    radii
        (row, column) half-axes in pixels before rotation; (0, 0) where the shape has corners.
    theta
        Rotation of an ellipse in radians, clockwise on the screen, as VIA stores it.
    """

    artifact: Artifact
    shape: str
    rows: tuple[float, ...]
    columns: tuple[float, ...]
    radii: tuple[float, float] = (0.0, 0.0)
    theta: float = 0.0

    def mask(self, shape: tuple[int, int] = PREVIEW_SHAPE) -> BoolArray:
        """
        Fill the outline on an (H, W) grid; whatever lies outside is clipped, never wrapped.

        Returns
        -------
        ndarray of bool, shape (H, W)
        """
        mask = np.zeros(shape, bool)
        if self.shape in ("circle", "ellipse"):
            # VIA turns clockwise on the screen, skimage counter-clockwise.
            pixels = draw.ellipse(  # type: ignore[no-untyped-call]
                self.rows[0],
                self.columns[0],
                *self.radii,
                shape=shape,
                rotation=-self.theta,
            )
        else:
            pixels = draw.polygon(self.rows, self.columns, shape=shape)  # type: ignore[no-untyped-call]
        mask[pixels] = True
        return mask

    def extent(self) -> tuple[float, float, float, float]:
        """Outermost rows and columns (y0, x0, y1, x1) of the outline, in pixels."""
        half_row = half_column = 0.0
        if self.shape in ("circle", "ellipse"):
            (radius_row, radius_column), cos, sin = self.radii, math.cos(self.theta), math.sin(self.theta)
            half_row = math.hypot(radius_row * cos, radius_column * sin)
            half_column = math.hypot(radius_column * cos, radius_row * sin)
        return (
            min(self.rows) - half_row,
            min(self.columns) - half_column,
            max(self.rows) + half_row,
            max(self.columns) + half_column,
        )


def region_instances(regions: Sequence[Region], shape: tuple[int, int] = PREVIEW_SHAPE) -> Instances:
    """
    Turn outlines into instances on an (H, W) grid, with tight boxes and score 1; those wholly outside are left out.
    """
    if not regions:
        return Instances.empty(shape)
    masks = np.stack([region.mask(shape) for region in regions])
    classes = np.array([region.artifact for region in regions], np.uint8)
    drawn = Instances(classes, np.ones(len(regions), np.float32), tight_boxes(masks), masks)
    return drawn.select(np.any(masks, axis=(1, 2)))
