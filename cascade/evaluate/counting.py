"""Pixels of masks on every CCD, by both definitions of a CCD's area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from cascade.camera import PAPER_CCD_AREA_PX, Camera, paper_boxes
from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray, UInt8Array
from cascade.evaluate.ccd import GROUPS

IntArray = npt.NDArray[np.int32]

GEOMETRIES = ("paper", "footprint")
"""Definitions of a CCD's area: the paper's boxes, which include gaps, or the light-sensitive area."""

_N_CODES = 1 << len(Artifact)  # values of a mask plane
_SETS = tuple(sum(artifact.bit for artifact in artifacts) for artifacts in GROUPS.values())

IN_GROUP: BoolArray = np.array([[(code & bits) > 0 for code in range(_N_CODES)] for bits in _SETS])
"""(group, code) bool: whether a pixel with that value in a mask plane counts for a group of `GROUPS`."""


@dataclass(frozen=True, eq=False)
class CcdCells:
    """
    A partition of the preview into cells: every CCD, by either geometry, is a union of cells.

    Attributes
    ----------
    cells
        (H, W) number of the cell of each pixel.
    members
        (2, n_ccds, n_cells) float32: 1 where a cell belongs to a CCD, for each of `GEOMETRIES`, by ccdnum - 1.
    areas_px
        (2, n_ccds) area of each CCD by geometry; the paper uses one number for all.
    """

    cells: npt.NDArray[np.intp]
    members: npt.NDArray[np.float32]
    areas_px: npt.NDArray[np.float64]

    @classmethod
    def of(cls, camera: Camera) -> Self:
        """Partition the preview of DECam."""
        n_ccds = len(camera.ccds)
        within = np.zeros(camera.shape, np.uint64)
        for number, (y0, x0, y1, x1) in enumerate(paper_boxes(camera)):
            within[y0:y1, x0:x1] |= np.uint64(1) << np.uint64(number)  # 62 CCDs fit
        boxes, box_cell = np.unique(within, return_inverse=True)
        keys, cells = np.unique(box_cell.ravel() * (n_ccds + 1) + camera.labels.ravel(), return_inverse=True)
        numbers = np.arange(n_ccds, dtype=np.uint64)[:, None]
        in_paper = (boxes[keys // (n_ccds + 1)] >> numbers) & np.uint64(1)
        in_footprint = keys % (n_ccds + 1) == numbers + 1
        areas = np.stack([np.full(n_ccds, PAPER_CCD_AREA_PX), camera.areas()[1:]])
        return cls(cells.reshape(camera.shape), np.stack([in_paper, in_footprint]).astype(np.float32), areas)

    def count(self, plane: UInt8Array) -> IntArray:
        """
        Count the pixels of a mask plane.

        Parameters
        ----------
        plane : ndarray of uint8, shape (H, W)
            `Artifact.bit` flags.

        Returns
        -------
        ndarray of int32, shape (2, n_groups, n_ccds)
            Pixels of every group of `GROUPS` on every CCD, by both `GEOMETRIES`.
        """
        marked = np.flatnonzero(plane)
        pairs = self.cells.ravel()[marked] * _N_CODES + plane.ravel()[marked]
        by_code = np.bincount(pairs, minlength=self.members.shape[-1] * _N_CODES).reshape(-1, _N_CODES)
        by_group = by_code @ IN_GROUP.T
        return (self.members @ by_group).transpose(0, 2, 1).astype(np.int32)

    def affected(self, counts: IntArray, geometry: str, area_threshold: float) -> BoolArray:
        """
        Determine which CCDs are affected: those with more than ``max(1, area * area_threshold)`` marked pixels.

        Parameters
        ----------
        counts : ndarray of int32, shape (..., 2, n_groups, n_ccds)
            From `count`.
        geometry : str
            One of `GEOMETRIES`.
        area_threshold : float
            Fraction of a CCD in [0, 1].

        Returns
        -------
        ndarray of bool, shape (..., n_groups, n_ccds)

        References
        ----------
        Tanoglidis et al. 2021, arXiv:2109.08246, section 5.
        """
        which = GEOMETRIES.index(geometry)
        affected: BoolArray = counts[..., which, :, :] > np.maximum(1.0, self.areas_px[which] * area_threshold)
        return affected
