"""Where a network runs: Keras on the user's backend, or OpenVINO on a CPU."""

from cascade.networks.engines.base import Answer, Engine, KerasEngine, sigmoid
from cascade.networks.engines.select import ENGINES, check_engine, exports, has_openvino, load_engine, openvino_engines

__all__ = [
    "ENGINES",
    "Answer",
    "Engine",
    "KerasEngine",
    "check_engine",
    "exports",
    "has_openvino",
    "load_engine",
    "openvino_engines",
    "sigmoid",
]
