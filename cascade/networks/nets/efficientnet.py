"""EfficientNet-Lite0: the backbone of the compact preset."""

from __future__ import annotations

from keras import layers

from cascade.networks.nets.boxes import Tensor

_STEM = 32
# Expansion, kernel, stride, channels and blocks of each group: EfficientNet-B0 (Tan & Le 2019, arXiv:1905.11946,
# table 1) without squeeze-and-excitation and with ReLU6, which is what "Lite" means.
_GROUPS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STAGE_ENDS = (0, 1, 2, 4, 6)  # the last group at each stride
# Small batches: the moving averages would lag with the 0.99 of ImageNet recipes.
_NORM_MOMENTUM = 0.95


def efficientnet_lite0_stages(x: Tensor) -> list[Tensor]:
    """
    Stack the stages of EfficientNet-Lite0, without its classifier.

    Parameters
    ----------
    x : tensor, shape (B, H, W, C)
        Normalised images; H and W multiples of 32.

    Returns
    -------
    list of tensor
        At strides 2 to 32, with 16, 24, 40, 112 and 320 channels.

    References
    ----------
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    """
    x = _norm(layers.Conv2D(_STEM, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(x), "stem")
    stages = []
    for group, (expansion, kernel, stride, channels, n_blocks) in enumerate(_GROUPS):
        for block in range(n_blocks):
            x = _inverted_residual(
                x, expansion, kernel, 1 if block else stride, channels, name=f"group{group}_block{block}"
            )
        if group in _STAGE_ENDS:
            stages.append(x)
    return stages


def _inverted_residual(x: Tensor, expansion: int, kernel: int, stride: int, channels: int, *, name: str) -> Tensor:
    """Expansion, depthwise convolution, projection, and a skip connection if the shape allows (arXiv:1801.04381)."""
    y = x
    if expansion > 1:
        y = layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False, name=f"{name}_expand_conv")(y)
        y = _norm(y, f"{name}_expand")
    y = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depth_conv")(y)
    y = _norm(y, f"{name}_depth")
    y = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = _norm(y, f"{name}_project", relu=False)
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and channels == x.shape[-1] else y


def _norm(x: Tensor, name: str, *, relu: bool = True) -> Tensor:
    """Batch normalisation and, by default, ReLU6."""
    x = layers.BatchNormalization(momentum=_NORM_MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x
