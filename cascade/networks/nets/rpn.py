"""The region proposal network."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from cascade.networks.nets.boxes import Tensor, area, clip, decode
from cascade.networks.nets.nms import best, pick, suppress
from cascade.networks.nets.roi_align import feature_table


@keras.saving.register_keras_serializable(package="cascade")
class RPNHead(layers.Layer):
    """
    Predict logits and offsets of the anchors of all pyramid levels, with shared weights.

    Input: levels (B, H_l, W_l, C), each with `n_anchors` anchors per cell, A in total. Output: logits (B, A) and
    offsets (B, A, 4), both float32. With `paired`, each logit is the difference of two outputs, foreground minus
    background, as in Matterport's.
    """

    def __init__(self, channels: int, n_anchors: int, *, paired: bool = False, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._n_anchors, self._paired = n_anchors, paired
        self.shared = layers.Conv2D(channels, 3, padding="same", activation="relu", name="shared")
        # A prior of 1 % keeps background anchors from dominating the first steps (Lin et al. 2017, arXiv:1708.02002).
        self.logits = layers.Conv2D(
            n_anchors * (2 if paired else 1), 1, dtype="float32", name="logits",
            bias_initializer="zeros" if paired else keras.initializers.Constant(-4.6),
        )  # fmt: skip
        self.offsets = layers.Conv2D(
            4 * n_anchors, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), dtype="float32",
            name="offsets",
        )  # fmt: skip

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        """Create the weights."""
        self.shared.build(input_shape[0])
        inner = (*input_shape[0][:-1], self.shared.filters)
        self.logits.build(inner)
        self.offsets.build(inner)
        self.built = True

    def call(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and offsets of all anchors."""
        return self.score(self.features(levels))

    def features(self, levels: Sequence[Tensor]) -> Tensor:
        """Shared features of scores and offsets: (B, R, channels) for the R cells of all levels."""
        return feature_table([self.shared(level) for level in levels])

    def score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and offsets from shared features."""
        cells = ops.expand_dims(features, 2)
        n_anchors = features.shape[1] * self._n_anchors
        logits = ops.reshape(self.logits(cells), (-1, n_anchors, 2 if self._paired else 1))
        logits = logits[..., 1] - logits[..., 0] if self._paired else logits[..., 0]
        return logits, ops.reshape(self.offsets(cells), (-1, n_anchors, 4))


def propose(
    logits: Tensor, offsets: Tensor, anchors: Tensor, *, limit: float, n_candidates: int, n_proposals: int,
    max_overlap: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """
    Select proposals: the highest-scoring anchors, decoded, clipped and reduced by non-maximum suppression.

    Parameters
    ----------
    logits, offsets : tensor, shapes (B, A) and (B, A, 4)
        Of all levels.
    anchors : tensor, shape (A, 4)
    limit : float
        Largest coordinate of a proposal in pixels.
    n_candidates : int
        Anchors before the suppression; bounds its time and memory on crowded images.
    n_proposals : int
        Proposals per image.
    max_overlap : float
        Intersection over union of two proposals.

    Returns
    -------
    boxes : tensor, shape (B, n_proposals, 4)
    valid : tensor of bool, shape (B, n_proposals)
    """
    # By logit, since high scores saturate at 1.
    _, indices = ops.top_k(logits, n_candidates)
    boxes = clip(decode(pick(offsets, indices), ops.take(anchors, indices, axis=0)), limit)
    kept = suppress(boxes, area(boxes) >= 1.0, max_overlap=max_overlap)
    chosen, valid = best(kept, n_proposals)
    return pick(boxes, chosen), valid
