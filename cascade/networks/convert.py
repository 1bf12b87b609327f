"""Import and export weights of Matterport's `mrcnn` package, the paper's among them, as `.h5` files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cascade.core.artifact import PAPER_CLASSES, Artifact
from cascade.core.errors import ModelError, reason
from cascade.core.keras_startup import import_keras
from cascade.core.plain_files import plain_size
from cascade.networks.model_info import ModelInfo
from cascade.networks.models import build_network, file_sha256, load_network, write_model
from cascade.networks.nets.presets import PRESETS
from cascade.storage.atomic import written_aside

if TYPE_CHECKING:
    import h5py
    import keras

FloatArray = npt.NDArray[np.float32]

CLASS_HEADS = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")
"""Layers whose shape depends on the number of classes; usually passed to Matterport's `load_weights` as `exclude`."""

MAX_FILE_BYTES = 2**30
MAX_DATASETS = 5000
_MARK_OF_R101 = "res4g_branch2a"  # stage 4 of ResNet-50 ends at block f
_RPN_LAYERS = ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")
_RPN_GROUP = "rpn_model"
_MODEL_WEIGHTS = "/model_weights/"


@dataclass(frozen=True, slots=True)
class Conversion:
    """
    Result of a conversion.

    Attributes
    ----------
    info
        The written model.
    n_layers
        Number of layers with converted weights.
    not_in_network
        Layers of the file without a counterpart in the network.
    left_new
        Layers of the network left at their initial weights, by `new_heads`.
    """

    info: ModelInfo
    n_layers: int
    not_in_network: tuple[str, ...]
    left_new: tuple[str, ...]


def convert_matterport(
    path: Path, folder: Path, *, new_heads: bool = False, size: int = 1024, channels: int = 1, threshold: float = 0.7
) -> Conversion:
    """
    Write a model folder from weights saved by the `mrcnn` package.

    The depth of the ResNet is inferred; classes must be the paper's, in the order of `PAPER_CLASSES`.

    Parameters
    ----------
    path : Path
        An `.h5` file, such as `mask_rcnn_*.h5`.
    folder : Path
        Model folder to write.
    new_heads : bool
        Do not load the class-dependent heads (`CLASS_HEADS`): to start training from weights for other classes, such
        as COCO's. They are for all of `Artifact` then.
    size : int
        Side in pixels to which previews are resized; Matterport's `IMAGE_MAX_DIM`.
    channels : int
        3 keeps the first convolution; 1 folds its three colours into one, which gives the same outputs except at the
        image border.
    threshold : float
        Minimum score of instances, in [0, 1]; Matterport's `DETECTION_MIN_CONFIDENCE`, 0.8 in the paper.

    Raises
    ------
    ModelError
        If the file cannot be read, or a layer or weight is missing or differs in shape from the network's.
    """
    import_keras()
    stored = _read(path)
    preset = PRESETS["mrcnn-r101" if _MARK_OF_R101 in stored else "mrcnn-r50"]
    architecture = {**preset, "size": size, "channels": channels, "min_score": threshold}
    classes = tuple(Artifact) if new_heads else PAPER_CLASSES
    network = build_network(architecture, classes)
    from cascade.networks.nets.matterport import named_layers

    layers = named_layers(network)
    left_new = CLASS_HEADS if new_heads else ()
    for name, layer in layers.items():
        if name not in left_new:
            layer.set_weights(_weights_of(path, name, layer, stored))
    info = write_model(
        folder, network, task="segment", architecture=architecture, classes=classes, threshold=threshold, half=False,
        training={"converted_from": path.name, "converted_sha256": file_sha256(path), "new_layers": list(left_new)},
    )  # fmt: skip
    return Conversion(info, len(layers) - len(left_new), tuple(sorted(set(stored) - set(layers))), tuple(left_new))


def export_matterport(info: ModelInfo, path: Path) -> int:
    """
    Write the weights of a model of Matterport's graph as an `.h5` file that the `mrcnn` package loads by name.

    A folded first convolution is expanded to three equal colours.

    Returns
    -------
    int
        Number of layers written.

    Raises
    ------
    ModelError
        If the model is not of Matterport's graph.
    """
    import h5py

    if info.architecture["name"] != "matterport":
        msg = f"model {info.name!r}: expected Matterport's graph, got architecture {info.architecture['name']!r}"
        raise ModelError(msg)
    network = load_network(info)
    from cascade.networks.nets.matterport import named_layers

    layers = {name: _named_weights(layer) for name, layer in named_layers(network).items()}
    layers["conv1"]["kernel"] = _coloured(layers["conv1"]["kernel"])
    groups = {name: {name: weights} for name, weights in layers.items() if name not in _RPN_LAYERS}
    groups[_RPN_GROUP] = {name: layers[name] for name in _RPN_LAYERS}
    with written_aside(path) as aside, h5py.File(aside, "w") as file:
        # As fixed-length bytes: Keras 2 calls `decode` on them.
        file.attrs["layer_names"] = np.array(list(groups), dtype="S")
        file.attrs["backend"], file.attrs["keras_version"] = np.bytes_("tensorflow"), np.bytes_("2.2.5")
        for group_name, members in groups.items():
            group = file.create_group(group_name)
            named = {f"{layer}/{key}:0": value for layer, weights in members.items() for key, value in weights.items()}
            group.attrs["weight_names"] = np.array(list(named), dtype="S")
            for name, value in named.items():
                group.create_dataset(name, data=value)
    return len(layers)


def _read(path: Path) -> dict[str, dict[str, FloatArray]]:
    """All weights of a file, by layer and name, whatever their group."""
    import h5py

    try:
        if (size := plain_size(path)) > MAX_FILE_BYTES:
            msg = f"{path}: expected weights of at most {MAX_FILE_BYTES} bytes, got {size}"
            raise ModelError(msg)
        with h5py.File(path, "r") as file:
            datasets: list[h5py.Dataset] = []

            def collect(_name: str, item: object) -> None:
                if isinstance(item, h5py.Dataset) and len(datasets) <= MAX_DATASETS:
                    datasets.append(item)

            file.visititems(collect)  # hard links only: none of these points outside the file
            if len(datasets) > MAX_DATASETS:
                msg = f"{path}: expected at most {MAX_DATASETS} weights, got more"
                raise ModelError(msg)
            # A whole model, as `model.save()` writes it, has the state of its optimizer beside its weights.
            in_model = [dataset for dataset in datasets if dataset.name.startswith(_MODEL_WEIGHTS)]
            datasets = in_model or datasets
            stored: dict[str, dict[str, FloatArray]] = {}
            n_values = 0
            for dataset in datasets:
                _check_dataset(path, dataset)
                n_values += math.prod(dataset.shape)
                if 4 * n_values > MAX_FILE_BYTES:
                    msg = f"{path}: expected at most {MAX_FILE_BYTES} bytes of decompressed weights, got more"
                    raise ModelError(msg)
                layer, name = _layer_and_weight(dataset.name)
                stored.setdefault(layer, {})[name] = np.asarray(dataset[()], np.float32)
    except OSError as error:
        msg = f"{path}: cannot read the weights: {reason(error)}"
        raise ModelError(msg) from error
    return stored


def _layer_and_weight(path: str) -> tuple[str, str]:
    """
    Layer and weight names of a dataset path such as ``/conv1/conv1_1/kernel:0``.

    The group has the layer's name; the name within it gets a numeric suffix if Keras had built the network before. Only
    the three layers of the proposal network share a group.
    """
    *folders, name = path.removeprefix(_MODEL_WEIGHTS).strip("/").split("/")
    layer = folders[0] if folders else ""
    if layer == _RPN_GROUP:
        layer = next((known for known in _RPN_LAYERS if folders[-1].startswith(known)), folders[-1])
    return layer, name.removesuffix(":0")


def _check_dataset(path: Path, dataset: Any) -> None:  # noqa: ANN401
    """Refuse anything but an array of floats stored in this file."""
    if dataset.dtype.kind != "f" or dataset.external or dataset.is_virtual:
        msg = f"{path}: {dataset.name}: expected an array of floats in the file itself, got {dataset.dtype}"
        raise ModelError(msg)


def _weights_of(
    path: Path, name: str, layer: keras.layers.Layer, stored: Mapping[str, Mapping[str, FloatArray]]
) -> list[FloatArray]:
    """Weights of a layer, in Keras' order."""
    if name not in stored:
        msg = f"{path}: expected weights of layer {name}, which are missing; is this a Mask R-CNN of `mrcnn`?"
        raise ModelError(msg)
    found = dict(stored[name])
    if name == "conv1" and {"kernel", "bias"} <= set(found) and layer.kernel.shape[2] == 1:
        found = _folded(found)
    expected = {variable.name: tuple(variable.shape) for variable in layer.weights}
    got = {key: value.shape for key, value in found.items()}
    if expected != got:
        hint = "; --new-heads leaves it out" if name in CLASS_HEADS else ""
        msg = f"{path}: layer {name}: expected {expected}, got {got}{hint}"
        raise ModelError(msg)
    return [found[variable.name] for variable in layer.weights]


def _named_weights(layer: keras.layers.Layer) -> dict[str, FloatArray]:
    """Weights of a layer by name."""
    names = [variable.name for variable in layer.weights]
    return dict(zip(names, layer.get_weights(), strict=True))


def _folded(weights: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """
    Fold three colours into one, for grey images.

    The original subtracts a mean pixel per colour, this network their average: the bias compensates the difference.
    """
    from cascade.networks.nets.matterport import MEAN_PIXEL

    kernel = weights["kernel"]
    if kernel.ndim != 4 or kernel.shape[2] != len(MEAN_PIXEL):
        return weights
    mean = np.asarray(MEAN_PIXEL)
    bias = weights["bias"] + (kernel.sum(axis=(0, 1)).T @ (mean.mean() - mean)).astype(np.float32)
    return {"kernel": kernel.sum(axis=2, keepdims=True), "bias": bias}


def _coloured(kernel: FloatArray) -> FloatArray:
    """Expand one colour to three equal ones: the inverse of `_folded` for grey images."""
    return kernel if kernel.shape[2] == 3 else np.repeat(kernel / 3, 3, axis=2)
