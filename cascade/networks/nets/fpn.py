"""The feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from cascade.networks.nets.boxes import Tensor


def feature_pyramid(features: Sequence[Tensor], channels: int, *, first: int) -> list[Tensor]:
    """
    Build the top-down pathway of a feature pyramid, and one level above the coarsest.

    Parameters
    ----------
    features : sequence of tensor
        Backbone stages, fine to coarse, each half the size of the previous.
    channels : int
        Channels of every level.
    first : int
        Number of the finest level, whose stride is ``2**first``; layers are named after it, as Matterport's.

    Returns
    -------
    list of tensor
        Fine to coarse, one more than `features`.

    References
    ----------
    Lin et al. 2017, arXiv:1612.03144.
    """
    laterals = [layers.Conv2D(channels, 1, name=f"fpn_c{k}p{k}")(x) for k, x in enumerate(features, start=first)]
    merged = [laterals[-1]]
    for lateral in reversed(laterals[:-1]):
        merged.insert(0, layers.Add()([lateral, layers.UpSampling2D(2)(merged[0])]))
    levels = [
        layers.Conv2D(channels, 3, padding="same", name=f"fpn_p{k}")(level)
        for k, level in enumerate(merged, start=first)
    ]
    return [*levels, layers.MaxPooling2D(1, strides=2, name="fpn_top")(levels[-1])]
