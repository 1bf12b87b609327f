"""Golden outputs: a few numbers that a loaded network must reproduce, so that wrong weights never go unnoticed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cascade.core.errors import ModelError
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.networks.model_info import ModelInfo, Task

if TYPE_CHECKING:
    import keras

_TOLERANCE = 0.02  # relative; float16 weights and bfloat16 engines stay below 0.01
_FLOOR = 0.1  # smallest magnitude for the relative tolerance


def golden_images() -> npt.NDArray[np.uint8]:
    """Two synthetic previews, (2, 400, 400) uint8, for golden outputs: noise, and noise with a ring."""
    noise = np.random.default_rng(20211).normal(53.0, 12.0, (2, *PREVIEW_SHAPE))
    y, x = np.indices(PREVIEW_SHAPE)
    ring = np.abs(np.hypot(y - 150.0, x - 260.0) - 45.0) < 6.0
    noise[1, ring] += 70.0
    return np.clip(noise, 0, 255).astype(np.uint8)


def golden_outputs(network: keras.Model, task: Task) -> npt.NDArray[np.float32]:
    """A few numbers that depend on every part of a network, as a 1-D float32 array."""
    images = golden_images()[..., None].astype(np.float32)
    if task == "screen":
        return np.asarray(network.predict_on_batch(images), np.float32).ravel()
    from cascade.networks.nets.mask_rcnn import MaskRCNN, probe

    if not isinstance(network, MaskRCNN):
        semantic = network.predict_on_batch(images)["semantic"]
        return np.asarray(np.sqrt(np.mean(np.square(semantic), axis=(1, 2))), np.float32).ravel()
    return probe(network, images)


def check_golden(info: ModelInfo, got: npt.NDArray[np.float32]) -> None:
    """Compare outputs with those in the model description."""
    expected = np.asarray(info.golden, np.float32)
    tolerance = _TOLERANCE * np.maximum(np.abs(expected), _FLOOR)
    if got.shape != expected.shape or not np.all(np.abs(got - expected) <= tolerance):
        msg = f"{info.folder}: expected golden outputs {_short(expected)}, got {_short(got)}: weights or code changed"
        raise ModelError(msg)


def _short(values: Sequence[float] | npt.NDArray[np.float32]) -> str:
    """The first few numbers, for a message."""
    return "[" + ", ".join(f"{value:.3g}" for value in values[:6]) + "]"
