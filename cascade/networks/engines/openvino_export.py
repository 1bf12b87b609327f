"""Export of Keras networks to OpenVINO. Requires TensorFlow and a few seconds, once per model and machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.core.errors import ConfigError
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.networks.engines.openvino_run import PARTS, import_openvino
from cascade.networks.model_info import Task

if TYPE_CHECKING:
    import keras

    from cascade.networks.nets.mask_rcnn import MaskRCNN

_SCREEN_BATCH = 8
# Larger blocks are no faster, and the last one of a season's batch is padded. Not 1: with one image OpenVINO 2026.4
# reads out of bounds in some gathers and crashes.
_SEGMENT_BATCH = 4

Signature = dict[str, tuple[tuple[int, ...], str]]
"""Shape and dtype of each input of a part."""


def export(network: keras.Model, task: Task, folder: Path) -> None:
    """
    Write the parts of a network into a folder.

    Raises
    ------
    ConfigError
        If Keras does not run on TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        msg = f"engine openvino: expected Keras on tensorflow, got {keras.backend.backend()}; use --engine keras"
        raise ConfigError(msg)
    parts = _screen_parts(network) if task == "screen" else _segment_parts(network)
    for (function, signature), name in zip(parts, PARTS[task], strict=True):
        write_part(function, signature, folder / f"{name}.xml")


def _screen_parts(network: keras.Model) -> list[tuple[Callable[..., Any], Signature]]:
    """The single part of a screen."""

    def screen(image: Any) -> dict[str, Any]:  # noqa: ANN401
        return {"logit": network(_float(image), training=False)}

    return [(screen, {"image": ((_SCREEN_BATCH, *PREVIEW_SHAPE), "uint8")})]


def _segment_parts(network: MaskRCNN) -> list[tuple[Callable[..., Any], Signature]]:
    """
    Mask R-CNN in five parts, so that those that compute boxes stay in float32.

    So do the output layers of scores and offsets: scores in bfloat16 tie, and ties reorder the suppression.
    """
    from keras import ops

    from cascade.networks.nets.heads import by_region, split_box_head

    hidden_head, outputs_head = split_box_head(network.box_head)
    sampling, limits = network.sampling, network.limits

    def features(image: Any) -> dict[str, Any]:  # noqa: ANN401
        levels = network.pyramid(_float(image), training=False)
        outputs = {"table": network.table(levels), "shared": network.rpn_head.features(levels)}
        if network.semantic_head is not None:
            outputs["semantic"] = ops.sigmoid(network.semantic_logits(levels, training=False))
        return outputs

    def propose(table: Any, shared: Any) -> dict[str, Any]:  # noqa: ANN401
        proposals, valid = network.propose(*network.rpn_head.score(shared))
        regions = network.align(table, proposals, sampling.box_bins)
        return {"proposals": proposals, "valid": ops.cast(valid, "float32"), "regions": regions}

    def classify(regions: Any) -> dict[str, Any]:  # noqa: ANN401
        return {"hidden": by_region(hidden_head, regions)[0]}

    def detect(table: Any, proposals: Any, valid: Any, hidden: Any) -> dict[str, Any]:  # noqa: ANN401
        logits, shifts = by_region(outputs_head, hidden)
        boxes, scores, classes = network.detect(proposals, valid > 0.5, logits, shifts)
        regions = network.align(table, boxes, sampling.mask_bins)
        # Ports of the same name share their memory, so that `classes` is passed on without a copy.
        return {"boxes": network.frame.to_preview(boxes), "scores": scores, "classes": classes, "drawn": regions}

    def mask_head(drawn: Any, classes: Any) -> dict[str, Any]:  # noqa: ANN401
        return {"masks": network.draw(drawn, classes)}

    batch, n, d = _SEGMENT_BATCH, limits.n_proposals, limits.n_detections
    levels = network.pyramid.outputs
    n_cells = [level.shape[1] * level.shape[2] for level in levels]
    channels = levels[0].shape[-1]
    table = ((batch, sum(n_cells[: len(sampling.strides)]), channels), "float32")
    return [
        (features, {"image": ((batch, *PREVIEW_SHAPE), "uint8")}),
        (propose, {"table": table, "shared": ((batch, sum(n_cells), network.rpn_head.shared.filters), "float32")}),
        (classify, {"regions": ((batch, n, sampling.box_bins, sampling.box_bins, channels), "float32")}),
        (
            detect,
            {
                "table": table, "proposals": ((batch, n, 4), "float32"), "valid": ((batch, n), "float32"),
                "hidden": ((batch, n, hidden_head.output.shape[-1]), "float32"),
            },
        ),
        (
            mask_head,
            {
                "drawn": ((batch, d, sampling.mask_bins, sampling.mask_bins, channels), "float32"),
                "classes": ((batch, d), "int32"),
            },
        ),
    ]  # fmt: skip


def _float(image: Any) -> Any:  # noqa: ANN401
    """Previews (B, H, W) uint8 as network input."""
    from keras import ops

    return ops.cast(ops.expand_dims(image, -1), "float32")


def write_part(function: Callable[..., Any], signature: Signature, path: Path) -> None:
    """
    Trace a TensorFlow function and write it as OpenVINO's ``.xml`` and ``.bin``.

    Parameters
    ----------
    function : callable
        Its arguments are tensors named as in `signature`; it returns tensors by name.
    signature : dict
        Shape and dtype of each input.
    path : Path
        The ``.xml``.
    """
    import tensorflow as tf

    ov = import_openvino()
    inputs = [tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in signature.items()]
    model = ov.convert_model(tf.function(function, input_signature=inputs).get_concrete_function())
    _unstable_top_k(model)
    # Not in float16: the weights include the folded normalisation and would be rounded once more.
    ov.save_model(model, path, compress_to_fp16=False)


def _unstable_top_k(model: Any) -> None:  # noqa: ANN401
    """Replace TensorFlow's stable TopK, which is many times slower; exact ties may be in any order."""
    import importlib

    opset = importlib.import_module("openvino.opset11")
    for stable in [node for node in model.get_ops() if node.get_type_name() == "TopK"]:
        attributes = stable.get_attributes()
        unstable = opset.topk(
            stable.input_value(0), stable.input_value(1), attributes["axis"], attributes["mode"], attributes["sort"],
            index_element_type=str(attributes["index_element_type"]), stable=False,
        )  # fmt: skip
        for k in (0, 1):
            stable.output(k).replace(unstable.output(k))
    model.validate_nodes_and_infer_types()
