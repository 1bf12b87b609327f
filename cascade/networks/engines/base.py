"""What an engine is, and Keras as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from cascade.core.exposure import Float32Array, UInt8Array
from cascade.networks.model_info import Task

if TYPE_CHECKING:
    import keras

Answer = dict[str, npt.NDArray[Any]]
"""Outputs of a network by name, each with the images as its first axis."""

OUTPUTS: dict[Task, tuple[str, ...]] = {
    "screen": ("logit",),
    "segment": ("boxes", "scores", "classes", "masks", "semantic"),
}
"""
Names of the outputs: those of `screen_cnn` and of `cascade.networks.nets.mask_rcnn.MaskRCNN`.

Not every network that finds artifacts has all of them: there are semantic maps without instances and the reverse.
"""

_KERAS_BATCH: dict[Task, int] = {"screen": 32, "segment": 8}


class Engine(Protocol):
    """Anything that runs a network on previews."""

    name: str
    """Engine and precision, for people: ``"keras/tensorflow float32"``, ``"openvino bf16"``."""

    def __call__(self, images: UInt8Array) -> Answer:
        """
        Run the network.

        Parameters
        ----------
        images : ndarray of uint8, shape (B, 400, 400)
            B is at least 1.

        Returns
        -------
        dict of ndarray
            The outputs in `OUTPUTS`, B entries each.
        """
        ...


class KerasEngine:
    """
    A Keras network on the backend that Keras runs on.

    Parameters
    ----------
    network : keras.Model
        Takes (B, 400, 400, 1) grey levels.
    task : str
    """

    def __init__(self, network: keras.Model, task: Task) -> None:
        import keras

        self.name = f"keras/{keras.backend.backend()} {keras.mixed_precision.dtype_policy().compute_dtype}"
        self._network, self._task = network, task
        self._fixed_shapes = keras.backend.backend() == "jax"  # it compiles anew for every shape

    def __call__(self, images: UInt8Array) -> Answer:
        """Run the network; see `Engine`."""
        answers = [
            self._network.predict_on_batch(block[..., None].astype(np.float32))
            for block in blocks(images, _KERAS_BATCH[self._task], fill=self._fixed_shapes)
        ]
        if self._task == "screen":
            answers = [{"logit": answer} for answer in answers]
        return {key: np.concatenate([np.asarray(answer[key]) for answer in answers])[: len(images)]
                for key in answers[0]}  # fmt: skip


def blocks(images: UInt8Array, size: int, *, fill: bool) -> Iterator[UInt8Array]:
    """
    Cut images into blocks.

    Parameters
    ----------
    images : ndarray of uint8, shape (B, H, W)
    size : int
        Images a block.
    fill : bool
        Fill the last block up with black images, for networks that are compiled for one shape.

    Yields
    ------
    ndarray of uint8, shape (size, H, W)
        None if there are no images. The last one has fewer images without `fill`.
    """
    for start in range(0, len(images), size):
        block = images[start : start + size]
        if fill and len(block) < size:
            blanks = np.zeros((size - len(block), *block.shape[1:]), block.dtype)
            block = np.concatenate([block, blanks])
        yield block


def sigmoid(logits: Float32Array) -> Float32Array:
    """The logistic function, without overflow."""
    scores: Float32Array = (0.5 * (1.0 + np.tanh(0.5 * logits))).astype(np.float32)
    return scores
