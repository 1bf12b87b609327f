"""The data of the cascade: exposures in, instances of artifacts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cascade.core.artifact import Artifact

PREVIEW_SHAPE = (400, 400)
"""Height and width, in pixels, of a focal-plane preview (DeepGhostBusters, Tanoglidis et al. 2021)."""

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HeaderFields:
    """
    Header fields of an exposure; None where the input does not provide them.

    The only list of these fields: columns of tables, with their types and meanings, and the FITS keywords that are
    looked for, the first one first, follow from it.
    """

    band: str | None = field(default=None, metadata={"meaning": "filter", "keywords": ("BAND", "FILTER")})
    mjd_obs: float | None = field(
        default=None, metadata={"meaning": "start of the exposure, MJD in days", "keywords": ("MJD-OBS",)}
    )
    ra: float | None = field(default=None, metadata={"meaning": "pointing, degrees, ICRS", "keywords": ("TELRA", "RA")})
    dec: float | None = field(
        default=None, metadata={"meaning": "pointing, degrees, ICRS", "keywords": ("TELDEC", "DEC")}
    )
    exptime: float | None = field(default=None, metadata={"meaning": "exposure time, s", "keywords": ("EXPTIME",)})

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read the fields from a row of a table; None where missing."""
        return cls(**{f.name: row.get(f.name) for f in fields(cls)})


@dataclass(frozen=True, slots=True)
class Source:
    """
    Where one exposure comes from; known without reading pixels.

    Attributes
    ----------
    path
        The input as messages and tables name it: ``night/D00158776.jpg``, ``set.zip!D00158776.jpg``, ``x.npy[17]``.
    expnum
        Exposure number, or None where neither name, array nor manifest gives one.
    header
        Header fields known without reading pixels.
    """

    path: str
    expnum: int | None = None
    header: HeaderFields = field(default_factory=HeaderFields)


@dataclass(frozen=True, slots=True)
class Exposure:
    """
    One exposure, ready for the networks.

    Attributes
    ----------
    source
        Where it comes from.
    image
        (400, 400) uint8 focal-plane preview, 0-255.
    """

    source: Source
    image: UInt8Array


@dataclass(frozen=True, slots=True)
class Instances:
    """
    The N artifacts found in one (H, W) preview, by falling score; instances may overlap.

    Attributes
    ----------
    classes
        (N,) uint8 values of `Artifact`.
    scores
        (N,) float32 confidences in [0, 1].
    boxes
        (N, 4) float32 boxes (y0, x0, y1, x1) in pixels, half-open.
    masks
        (N, H, W) bool.
    """

    classes: UInt8Array
    scores: Float32Array
    boxes: Float32Array
    masks: BoolArray

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def empty(cls, shape: tuple[int, int] = PREVIEW_SHAPE) -> Instances:
        """An empty set of instances on an (H, W) grid."""
        return cls(
            np.zeros(0, np.uint8),
            np.zeros(0, np.float32),
            np.zeros((0, 4), np.float32),
            np.zeros((0, *shape), bool),
        )

    def select(self, keep: BoolArray | npt.NDArray[np.intp]) -> Instances:
        """The instances that a boolean mask or an index array selects."""
        return Instances(self.classes[keep], self.scores[keep], self.boxes[keep], self.masks[keep])

    def bit_mask(self) -> UInt8Array:
        """The (H, W) uint8 mask plane: the `Artifact.bit` flags of all instances, OR-ed."""
        plane = np.zeros(self.masks.shape[1:], np.uint8)
        for class_, mask in zip(self.classes, self.masks, strict=True):
            plane[mask] |= Artifact(class_).bit
        return plane


def tight_boxes(masks: BoolArray) -> Float32Array:
    """
    Smallest boxes around masks.

    Parameters
    ----------
    masks : ndarray of bool, shape (N, H, W)

    Returns
    -------
    ndarray of float32, shape (N, 4)
        (y0, x0, y1, x1), half-open; all zero for an empty mask.
    """
    sides = []
    for axis in (2, 1):
        covered: BoolArray = np.any(masks, axis=axis)
        first = covered.argmax(axis=1)
        last = covered.shape[1] - covered[:, ::-1].argmax(axis=1)
        sides.append((first, np.where(np.any(covered, axis=1), last, 0)))
    (y0, y1), (x0, x1) = sides
    return np.stack([y0, x0, y1, x1], axis=1).astype(np.float32)
