"""Interface of engines, and the Keras engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from cascade.core.exposure import Float32Array, UInt8Array
from cascade.networks.model_info import Task

if TYPE_CHECKING:
    import keras

Outputs = dict[str, npt.NDArray[Any]]
"""Outputs of a network by name; the first axis of each runs over the images."""

OUTPUT_NAMES: dict[Task, tuple[str, ...]] = {
    "screen": ("logit",),
    "segment": ("boxes", "scores", "classes", "masks", "semantic"),
}
"""
Names of the outputs: those of `screen_cnn` and of `cascade.networks.nets.mask_rcnn.MaskRCNN`.

Segmenters may lack some: there are semantic maps without instances and the reverse.
"""

_KERAS_BATCH: dict[Task, int] = {"screen": 32, "segment": 8}


class Engine(Protocol):
    """Interface of engines, which run a network on previews."""

    name: str
    """Engine and precision, for display: ``"keras/tensorflow float32"``, ``"openvino bf16"``."""

    def __call__(self, images: UInt8Array) -> Outputs:
        """
        Run the network.

        Parameters
        ----------
        images : ndarray of uint8, shape (B, 400, 400)
            B is at least 1.

        Returns
        -------
        dict of ndarray
            Outputs of `OUTPUT_NAMES`, B entries each.
        """
        ...


class KerasEngine:
    """
    A Keras network on the backend that Keras runs on.

    Parameters
    ----------
    network : keras.Model
        Its input is (B, 400, 400, 1) grey levels.
    task : str
    """

    def __init__(self, network: keras.Model, task: Task) -> None:
        import keras

        self.name = f"keras/{keras.backend.backend()} {keras.mixed_precision.dtype_policy().compute_dtype}"
        self._network, self._task = network, task
        self._fixed_shapes = keras.backend.backend() == "jax"  # it recompiles for every shape

    def __call__(self, images: UInt8Array) -> Outputs:
        """Run the network; see `Engine`."""
        batches = [
            self._network.predict_on_batch(block[..., None].astype(np.float32))
            for block in blocks(images, _KERAS_BATCH[self._task], fill=self._fixed_shapes)
        ]
        if self._task == "screen":
            batches = [{"logit": batch} for batch in batches]
        return {key: np.concatenate([np.asarray(batch[key]) for batch in batches])[: len(images)]
                for key in batches[0]}  # fmt: skip


def blocks(images: UInt8Array, size: int, *, fill: bool) -> Iterator[UInt8Array]:
    """
    Split images into blocks.

    Parameters
    ----------
    images : ndarray of uint8, shape (B, H, W)
    size : int
        Images per block.
    fill : bool
        Pad the last block with black images, for networks compiled for one shape.

    Yields
    ------
    ndarray of uint8, shape (size, H, W)
        Without `fill` the last one may be smaller.
    """
    for start in range(0, len(images), size):
        block = images[start : start + size]
        if fill and len(block) < size:
            blanks = np.zeros((size - len(block), *block.shape[1:]), block.dtype)
            block = np.concatenate([block, blanks])
        yield block


def sigmoid(logits: Float32Array) -> Float32Array:
    """Logistic function, without overflow."""
    scores: Float32Array = (0.5 * (1.0 + np.tanh(0.5 * logits))).astype(np.float32)
    return scores
