"""ResNet-50 and ResNet-101 as Matterport built them, with their layer names."""

from __future__ import annotations

from collections.abc import Mapping

from keras import layers

from cascade.networks.nets.boxes import Tensor

BLOCKS: Mapping[int, tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Residual blocks of stages 2 to 5, by depth (He et al. 2016, arXiv:1512.03385, table 1)."""

_FIRST_FILTERS = 64
_EXPANSION = 4


def resnet_stages(x: Tensor, depth: int) -> list[Tensor]:
    """
    Stack the stages of a ResNet with bottleneck blocks.

    As in Matterport's code all convolutions have a bias, the stride is in a block's first 1x1 convolution, and batch
    normalisation is frozen: with two images per step its statistics would be noise.

    Parameters
    ----------
    x : tensor, shape (B, H, W, C)
        Normalised images; H and W multiples of 64.
    depth : int
        50 or 101.

    Returns
    -------
    list of tensor
        C2 to C5, at strides 4 to 32, with 256 to 2048 channels.

    Raises
    ------
    ValueError
        If there is no ResNet of that depth.

    References
    ----------
    Matterport's `resnet_graph`, https://github.com/matterport/Mask_RCNN.
    """
    if depth not in BLOCKS:
        msg = f"depth: expected one of {', '.join(map(str, BLOCKS))}, got {depth!r}"
        raise ValueError(msg)
    x = layers.ZeroPadding2D(3, name="pad_conv1")(x)
    x = layers.Conv2D(_FIRST_FILTERS, 7, strides=2, name="conv1")(x)
    x = layers.ReLU()(frozen_norm(x, "bn_conv1"))
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    stages = []
    for stage, n_blocks in enumerate(BLOCKS[depth], start=2):
        filters = _FIRST_FILTERS * 2 ** (stage - 2)
        for block in range(n_blocks):
            stride = 2 if stage > 2 and not block else 1
            x = _bottleneck(x, filters, stride, name=f"{stage}{chr(ord('a') + block)}", projected=not block)
        stages.append(x)
    return stages


def frozen_norm(x: Tensor, name: str) -> Tensor:
    """Batch normalisation with frozen statistics; its scale and offset are trained."""
    return layers.BatchNormalization(name=name)(x, training=False)


def _bottleneck(x: Tensor, filters: int, stride: int, *, name: str, projected: bool) -> Tensor:
    """1x1, 3x3 and 1x1 convolutions with a skip connection, projected or not."""
    y = layers.Conv2D(filters, 1, strides=stride, name=f"res{name}_branch2a")(x)
    y = layers.ReLU()(frozen_norm(y, f"bn{name}_branch2a"))
    y = layers.Conv2D(filters, 3, padding="same", name=f"res{name}_branch2b")(y)
    y = layers.ReLU()(frozen_norm(y, f"bn{name}_branch2b"))
    y = layers.Conv2D(_EXPANSION * filters, 1, name=f"res{name}_branch2c")(y)
    y = frozen_norm(y, f"bn{name}_branch2c")
    if projected:
        x = layers.Conv2D(_EXPANSION * filters, 1, strides=stride, name=f"res{name}_branch1")(x)
        x = frozen_norm(x, f"bn{name}_branch1")
    return layers.ReLU(name=f"res{name}_out")(layers.Add()([y, x]))
