"""Computational cost of a network: floating-point operations per image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers

from cascade.networks.nets.mask_rcnn import MaskRCNN


def gflop(network: keras.Model) -> float:
    """
    Count the operations of all convolutions and matrix products for one image, in 1e9; a multiply-add is two.

    The rest (normalisation, activations, sampling, suppression), a few per cent, is ignored.
    """
    if not isinstance(network, MaskRCNN):
        return _model_flop(network) / 1e9
    head, limits = network.rpn_head, network.limits
    anchors = 0.0
    for level in network.pyramid.outputs:
        inner = (*level.shape[:-1], head.shared.filters)
        anchors += _layer_flop(head.shared, level.shape)
        anchors += _layer_flop(head.logits, inner) + _layer_flop(head.offsets, inner)
    regions = limits.n_proposals * _model_flop(network.box_head) + limits.n_detections * _model_flop(network.mask_head)
    semantic = 0.0 if network.semantic_head is None else _model_flop(network.semantic_head)
    return (_model_flop(network.pyramid) + anchors + regions + semantic) / 1e9


def _model_flop(model: keras.Model) -> float:
    """Operations of a functional model on one input."""
    return sum(_layer_flop(layer, layer.input.shape) for layer in model.layers if type(layer) in _COUNTERS)


def _layer_flop(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> float:
    """Operations of a layer on one input of that shape."""
    return 2.0 * _COUNTERS[type(layer)](layer, shape)


def _convolution(layer: Any, shape: tuple[int | None, ...]) -> float:  # noqa: ANN401
    """Multiply-adds: the kernel is applied once per output pixel."""
    out = layer.compute_output_shape(shape)
    return float(math.prod(layer.kernel.shape) * math.prod(out[1:3]))


def _transposed(layer: Any, shape: tuple[int | None, ...]) -> float:  # noqa: ANN401
    """Multiply-adds: the kernel is applied once per input pixel."""
    return float(math.prod(layer.kernel.shape) * math.prod(side or 0 for side in shape[1:3]))


_COUNTERS: Mapping[type, Callable[[Any, tuple[int | None, ...]], float]] = {
    layers.Conv2D: _convolution,
    layers.DepthwiseConv2D: _convolution,
    layers.Conv2DTranspose: _transposed,
    layers.Dense: lambda layer, _shape: float(math.prod(layer.kernel.shape)),
}
