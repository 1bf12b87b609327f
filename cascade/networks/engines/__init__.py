"""Inference engines: Keras on the user's backend, or OpenVINO on a CPU."""

from cascade.networks.engines.base import Engine, KerasEngine, Outputs, sigmoid
from cascade.networks.engines.select import ENGINES, check_engine, exports, has_openvino, load_engine, openvino_engines

__all__ = [
    "ENGINES",
    "Engine",
    "KerasEngine",
    "Outputs",
    "check_engine",
    "exports",
    "has_openvino",
    "load_engine",
    "openvino_engines",
    "sigmoid",
]
