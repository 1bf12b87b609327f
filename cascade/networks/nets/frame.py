"""Mapping between previews and the square input of a network."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers, ops

from cascade.core.exposure import PREVIEW_SHAPE
from cascade.networks.nets.boxes import Tensor


@dataclass(frozen=True, slots=True)
class Frame:
    """
    Square input of a network, and the mapping of preview pixels to it.

    Attributes
    ----------
    size
        Side of the square in network pixels.
    stretched
        Whether the preview is resized to the square; else it is centred and padded with sky.
    inclusive
        Whether boxes end on their last pixel, as in Matterport's normalised coordinates; else they are half-open.
    """

    size: int
    stretched: bool
    inclusive: bool = False

    @property
    def scale(self) -> float:
        """Network pixels per preview pixel."""
        return self.size / PREVIEW_SHAPE[0] if self.stretched else 1.0

    @property
    def padding(self) -> int:
        """Padding on each side in network pixels."""
        return 0 if self.stretched else (self.size - PREVIEW_SHAPE[0]) // 2

    @property
    def limit(self) -> float:
        """Largest coordinate of a box."""
        return float(self.size - self.inclusive)

    def to_network(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) of the preview, half-open, in network pixels."""
        return boxes * self.scale + self._shift()

    def to_preview(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) in network pixels as half-open ones of the preview: the inverse of `to_network`."""
        return (boxes - self._shift()) / self.scale

    def fit(self, images: Tensor, *, sky: float) -> Tensor:
        """
        Resize or pad previews (B, 400, 400, 1) to the network's size; `sky` is the grey level of the padding.

        This comes before any normalisation: OpenVINO 2026.4 merges zero padding into a following "same" convolution
        and drops that convolution's own padding.
        """
        if self.stretched:
            stretch = layers.Resizing(self.size, self.size, interpolation="bilinear", dtype="float32", name="stretch")
            return stretch(images)
        margin = [self.padding, self.padding]
        return ops.pad(images, [[0, 0], margin, margin, [0, 0]], constant_values=sky)

    def _shift(self) -> Tensor:
        """Offset added to a scaled box."""
        far = self.padding - int(self.inclusive)
        return ops.convert_to_tensor([self.padding, self.padding, far, far], dtype="float32")


def normalised(images: Tensor, *, offset: float, scale: float) -> Tensor:
    """Grey levels as ``(image - offset) / scale``."""
    return layers.Rescaling(1 / scale, -offset / scale, name="normalise")(images)


def preview_input() -> keras.KerasTensor:
    """The input of every network: (B, 400, 400, 1), grey levels 0-255."""
    return keras.Input((*PREVIEW_SHAPE, 1), name="image")
