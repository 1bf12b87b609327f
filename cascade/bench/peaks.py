"""Peak throughput of this machine: GFLOP/s of matrix products and of plain convolutions, on every engine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cascade.bench.networks import KERAS_16, KERAS_32, OPENVINO_16, precision_of
from cascade.core.keras_startup import import_keras

_N_LAYERS = 6
_SIDE = 100  # pixels; a quarter of a preview's, where compact networks spend most time
_MULTIPLE = 16  # of channels, for vector units
_ROUNDS = 5


def machine_speed(engine: str, size: int, stacks: Sequence[tuple[float, int]]) -> dict[str, Any]:
    """
    Measure the peak throughput of an engine on this machine.

    Call it in a separate process: it sets the precision of Keras.

    Parameters
    ----------
    engine : str
        One of `cascade.bench.networks.engines`.
    size : int
        Rows and columns of the matrices.
    stacks : sequence of (float, int)
        GFLOP per image and batch size of each stack of convolutions.

    Returns
    -------
    dict
        `matmul`, GFLOP/s of a matrix product, and `plain`, the result of `plain_speed` for each stack.
    """
    import_keras()
    return {"matmul": matmul_speed(engine, size), "plain": [plain_speed(engine, *stack) for stack in stacks]}


def matmul_speed(engine: str, size: int) -> float:
    """GFLOP/s of a product of square matrices."""
    import tensorflow as tf

    if engine in (KERAS_32, KERAS_16):
        values = tf.cast(tf.random.normal((size, size)), precision_of(engine))
        # Only its mean leaves the device: copying 64 MB would take longer than the product.
        product = tf.function(lambda a: tf.reduce_mean(tf.matmul(a, a)))
        seconds = _best(lambda: product(values).numpy())
    else:
        weights = tf.random.normal((size, size))
        seconds = _openvino_seconds(lambda image: tf.matmul(image, weights), (size, size), engine)
    return float(2 * size**3 / seconds / 1e9)


def plain_speed(engine: str, gflop: float, batch: int) -> dict[str, float]:
    """
    GFLOP/s of six plain 3x3 convolutions of a network's size.

    Parameters
    ----------
    engine : str
        One of `cascade.bench.networks.engines`.
    gflop : float
        Target operations per image, in 1e9; approximated with a multiple of 16 channels.
    batch : int
        Batch size.

    Returns
    -------
    dict
        `channels`, `gflop` (per image) and `gflop_per_s`.
    """
    import keras

    if engine == KERAS_16:
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    per_layer = 2 * 9 * _SIDE**2 / 1e9
    channels = _MULTIPLE * max(1, round((gflop / _N_LAYERS / per_layer) ** 0.5 / _MULTIPLE))
    x = image = keras.Input((_SIDE, _SIDE, channels))
    for _ in range(_N_LAYERS):
        x = keras.layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
    # So that reading the output back is not timed.
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    network = keras.Model(image, x)
    shape = (batch, _SIDE, _SIDE, channels)
    if engine in (KERAS_32, KERAS_16):
        import tensorflow as tf

        images = tf.random.normal(shape)
        call = tf.function(lambda images: network(images, training=False))
        seconds = _best(lambda: call(images).numpy())
    else:
        seconds = _openvino_seconds(lambda image: network(image, training=False), shape, engine)
    size = _N_LAYERS * per_layer * channels**2
    return {"channels": channels, "gflop": size, "gflop_per_s": batch * size / seconds}


def _openvino_seconds(function: Callable[[Any], Any], shape: tuple[int, ...], engine: str) -> float:
    """Seconds of one call of a TensorFlow function in OpenVINO."""
    from cascade.networks.engines.openvino_export import write_part
    from cascade.networks.engines.openvino_run import import_openvino

    config = {"INFERENCE_PRECISION_HINT": "bf16" if engine == OPENVINO_16 else "f32", "NUM_STREAMS": 1}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.xml"
        write_part(lambda image: {"out": function(image)}, {"image": (shape, "float32")}, path)
        request = import_openvino().Core().compile_model(path, "CPU", config).create_infer_request()
    request.get_input_tensor().data[:] = np.random.default_rng(0).normal(size=shape)
    return _best(request.infer)


def _best(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of several calls, after a warm-up call."""
    call()
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
