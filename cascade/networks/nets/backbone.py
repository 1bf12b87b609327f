"""A small residual backbone."""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from cascade.networks.nets.boxes import Tensor

# Small batches: the moving averages would lag with Keras' default of 0.99.
_NORM_MOMENTUM = 0.95


def conv_norm_relu(x: Tensor, filters: int, *, name: str, stride: int = 1, relu: bool = True) -> Tensor:
    """A 3x3 convolution, batch normalisation and, by default, ReLU."""
    x = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=_NORM_MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def residual_block(x: Tensor, *, name: str) -> Tensor:
    """Two 3x3 convolutions with a skip connection."""
    filters = x.shape[-1]
    y = conv_norm_relu(x, filters, name=f"{name}_1")
    y = conv_norm_relu(y, filters, name=f"{name}_2", relu=False)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, y]))


def residual_stages(x: Tensor, widths: Sequence[int], blocks: Sequence[int]) -> list[Tensor]:
    """
    Stack stages that each halve the resolution, then add residual blocks.

    Parameters
    ----------
    x : tensor, shape (B, H, W, C)
        Normalised images.
    widths, blocks : sequence of int
        Channels and residual blocks of each stage; stage k has stride 2**(k + 1).

    Returns
    -------
    list of tensor
        One per stage, shape (B, H / stride, W / stride, width).
    """
    stages = []
    for k, (width, n_blocks) in enumerate(zip(widths, blocks, strict=True), start=1):
        x = conv_norm_relu(x, width, name=f"stage{k}", stride=2)
        for block in range(1, n_blocks + 1):
            x = residual_block(x, name=f"stage{k}_block{block}")
        stages.append(x)
    return stages
