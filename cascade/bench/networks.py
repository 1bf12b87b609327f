"""Throughput of networks on every engine: the default models, and presets with random weights."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.core.exposure import UInt8Array
from cascade.core.keras_startup import import_keras
from cascade.networks.engines import Engine, KerasEngine, Outputs, has_openvino
from cascade.networks.engines.parity import parity_previews
from cascade.networks.model_info import ModelInfo, Task
from cascade.networks.models import build_network, find_model, load_network
from cascade.networks.nets.presets import PRESETS
from cascade.networks.screen import NetworkScreener
from cascade.networks.segment import NetworkSegmenter

if TYPE_CHECKING:
    import keras

    from cascade.networks.engines.openvino_run import Precision

PAPER = "mrcnn-r101"
"""The preset of the paper's network: Matterport's graph with ResNet-101 at 1024x1024."""

KERAS_32, KERAS_16, OPENVINO_32, OPENVINO_16 = "keras float32", "keras bfloat16", "openvino f32", "openvino bf16"

_MIN_SCORE = 0.05  # of a preset: with random weights the maximum number of artifacts
_SEED = 1


@dataclass
class TimedEngine:
    """
    An engine that accumulates its run time.

    Attributes
    ----------
    engine
        The wrapped engine.
    name
        That of the engine.
    seconds
        Accumulated run time.
    """

    engine: Engine
    name: str = field(init=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.name = self.engine.name

    def __call__(self, images: UInt8Array) -> Outputs:
        """Run the network; see `Engine`."""
        start = time.perf_counter()
        outputs = self.engine(images)
        self.seconds += time.perf_counter() - start
        return outputs


def engines() -> list[str]:
    """Engines available here; OpenVINO in bfloat16 only on processors that are fast in it."""
    names = [KERAS_32, KERAS_16]
    if has_openvino():
        from cascade.networks.engines.openvino_run import native_precision

        names += [OPENVINO_32, *([OPENVINO_16] if native_precision() == "bf16" else [])]
    return names


def precision_of(engine: str) -> str:
    """``"float32"`` or ``"bfloat16"``."""
    return "bfloat16" if engine in (KERAS_16, OPENVINO_16) else "float32"


def measure_network(name: str, engine: str, *, n_images: int, n_rounds: int) -> dict[str, Any]:
    """
    Time a network, from uint8 previews to scores or to masks on the focal plane.

    Call it in a separate process: it sets the precision of Keras, and networks are large.

    Parameters
    ----------
    name : str
        A model by name or folder, or one of `PRESETS`, which gets random weights.
    engine : str
        One of `engines`.
    n_images : int
        Per round.
    n_rounds : int
        After a warm-up round; the fastest counts.

    Returns
    -------
    dict
        `images_per_s` end to end, `network_images_per_s` of the engine alone, `artifacts_per_image`: None for a screen.
    """
    if engine == KERAS_16:
        import_keras()
        import keras

        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    info = None if name in PRESETS else find_model(name)
    task: Task = "segment" if info is None else info.task
    timed = TimedEngine(_engine(name, info, engine))
    images = np.tile(parity_previews(), (-(-n_images // 8), 1, 1))[:n_images]
    if task == "screen":
        predict: Any = NetworkScreener(timed, info.calibration if info else ()).score
    else:
        min_score, semantic = (_MIN_SCORE, 0.5) if info is None else (info.threshold, info.semantic)
        predict = NetworkSegmenter(timed, min_score=min_score, semantic=semantic).segment
    found = predict(images)
    rounds = []
    for _ in range(n_rounds):
        before, start = timed.seconds, time.perf_counter()
        predict(images)
        rounds.append((time.perf_counter() - start, timed.seconds - before))
    total, inside = min(rounds)
    n_found = None if task == "screen" else sum(map(len, found)) / n_images
    return {
        "network": name if info is None else info.name, "engine": engine, "n_images": n_images,
        "images_per_s": n_images / total,
        "network_images_per_s": n_images / inside, "share_in_network": inside / total, "artifacts_per_image": n_found,
    }  # fmt: skip


def network_sizes(names: Sequence[str]) -> list[float]:
    """GFLOP per image of models and presets, by `cascade.networks.nets.cost.gflop`."""
    import_keras()
    from cascade.networks.nets.cost import gflop

    return [gflop(build_network(PRESETS[name]) if name in PRESETS else _built(find_model(name))) for name in names]


def _engine(name: str, info: ModelInfo | None, engine: str) -> Engine:
    """Load a network into an engine."""
    task: Task = "segment" if info is None else info.task
    if engine in (KERAS_32, KERAS_16):
        return KerasEngine(_network(name, info, engine), task)
    from cascade.networks.engines.openvino_run import OpenVINOEngine

    precision: Precision = "bf16" if engine == OPENVINO_16 else "f32"
    if info is not None:
        from cascade.networks.engines.openvino_cache import exported

        return OpenVINOEngine(exported(info)[0], task, precision)
    from cascade.networks.engines.openvino_export import export

    with tempfile.TemporaryDirectory() as folder:
        export(_network(name, None, engine), task, Path(folder))
        return OpenVINOEngine(Path(folder), task, precision)


def _network(name: str, info: ModelInfo | None, engine: str) -> keras.Model:
    """A Keras network; in bfloat16 its golden outputs, which are those of float32, are not checked."""
    if info is None:
        import_keras()
        import keras

        keras.utils.set_random_seed(_SEED)
        return build_network(PRESETS[name])
    if engine != KERAS_16:
        return load_network(info)
    network = _built(info)
    network.load_weights(info.weights)
    return network


def _built(info: ModelInfo) -> keras.Model:
    """The network of a model, with new weights."""
    return build_network(info.architecture, info.classes)
