"""Select an engine for a model, with a parity check."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from cascade.core.errors import ConfigError, ModelError
from cascade.core.keras_startup import import_keras
from cascade.networks.engines.base import Engine, KerasEngine
from cascade.networks.engines.parity import Parity, compare
from cascade.networks.model_info import ModelInfo
from cascade.networks.models import load_network

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

EngineName = Literal["auto", "keras", "openvino"]
ENGINES: tuple[str, ...] = get_args(EngineName)
"""Accepted engine names."""


def load_engine(info: ModelInfo, engine: str = "auto") -> Engine:
    """
    Load a model into an engine.

    ``"auto"`` selects Keras if its backend has a GPU or is not TensorFlow, else OpenVINO if it is installed and passes
    the parity check against Keras on `cascade.networks.engines.parity.parity_previews`, else Keras. OpenVINO runs in
    bfloat16 if the CPU is fast in it and the check passes, else in float32.

    Raises
    ------
    ConfigError
        If there is no such engine, or it is not installed.
    ModelError
        If the model is damaged, or OpenVINO is requested and fails the parity check in float32, too.
    """
    check_engine(engine)
    if engine == "keras" or (engine == "auto" and not (exports(info) and _prefers_openvino())):
        return _keras_engine(info)
    for loaded, parity in openvino_engines(info):
        if parity.close:
            logger.info("%s runs on %s (against Keras: %s)", info.name, loaded.name, parity)
            return loaded
        logger.info("%s: outputs of %s differ from Keras (%s)", info.name, loaded.name, parity)
    if engine == "auto":
        logger.warning("%s: outputs of OpenVINO differ from Keras (%s), so it runs on Keras", info.name, parity)
        return _keras_engine(info)
    msg = f"{info.folder}: outputs of OpenVINO differ from Keras, in float32 too ({parity}); use --engine keras"
    raise ModelError(msg)


def _keras_engine(info: ModelInfo) -> Engine:
    """The Keras engine."""
    engine = KerasEngine(load_network(info), info.task)
    logger.info("%s runs on %s", info.name, engine.name)
    return engine


def check_engine(engine: str) -> None:
    """
    Check the name of an engine, and that it is installed.

    Raises
    ------
    ConfigError
        If it is not one of `ENGINES`, or not installed.
    """
    if engine not in ENGINES:
        msg = f"engine: expected one of {', '.join(ENGINES)}, got {engine!r}"
        raise ConfigError(msg)
    if engine == "openvino" and not has_openvino():
        msg = "engine openvino: expected the package openvino, which is not installed"
        raise ConfigError(msg)


def openvino_engines(info: ModelInfo, network: keras.Model | None = None) -> Iterator[tuple[Engine, Parity]]:
    """
    A model in OpenVINO at every precision for this CPU, the fastest first, with its parity check against Keras.

    Parameters
    ----------
    info : ModelInfo
    network : keras.Model or None
        The model in Keras, to be run for the check; None takes the outputs that the cache has kept.

    Raises
    ------
    ConfigError
        If its architecture cannot be exported.
    """
    if not exports(info):
        msg = f"{info.name}: architecture {info.architecture['name']!r} has no OpenVINO export; use --engine keras"
        raise ConfigError(msg)
    from cascade.networks.engines.openvino_cache import exported
    from cascade.networks.engines.openvino_run import OpenVINOEngine, Precision, native_precision

    folder, images, expected = exported(info)
    if network is not None:
        expected = KerasEngine(network, info.task)(images)
    precisions: tuple[Precision, ...] = ("bf16", "f32") if native_precision() == "bf16" else ("f32",)
    for precision in precisions:
        engine = OpenVINOEngine(folder, info.task, precision)
        yield engine, compare(info, expected, engine(images))


def exports(info: ModelInfo) -> bool:
    """Whether a model can be exported to OpenVINO; a semantic net without instances, for pretraining, cannot."""
    return bool(info.architecture["name"] != "semantic")


def _prefers_openvino() -> bool:
    """Whether `auto` selects OpenVINO."""
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    return has_openvino() and backend == "tensorflow" and not _has_gpu()


def has_openvino() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("openvino") is not None


def _has_gpu() -> bool:
    """Whether TensorFlow has a GPU; it is imported, which takes seconds, only if the system has one."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return False
    import_keras()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
