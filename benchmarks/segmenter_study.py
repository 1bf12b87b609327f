"""
End-to-end throughput of each Mask R-CNN, relative to the peak of the machine.

``python benchmarks/segmenter_study.py --out benchmarks/results`` measures every variant in a separate process, one
after the other, and writes `segmenter.json` and `segmenter.md`. End to end means from uint8 previews to boolean masks
on the focal plane. Presets have random weights, so that every image has the maximum number of proposals and
detections; "trained" is the default model, which is `segment-lite` with weights.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 5
MATMUL = 4096
PLAIN = "six plain 3x3 convolutions"
_PARTS = ("features", "propose", "classify", "detect", "mask_head")  # of `openvino_run.PARTS`
LITE, LITE0, TRAINED, R101 = "segment-lite", "segment-lite0", "trained", "mrcnn-r101"
VARIANTS: tuple[tuple[str, str, int], ...] = (
    *((LITE, engine, batch) for engine in ("keras float32", "openvino f32", "openvino bf16") for batch in (1, 8, 32)),
    (LITE0, "openvino bf16", 8),
    (TRAINED, "keras float32", 8),
    (TRAINED, "openvino bf16", 8),
    (R101, "keras float32", 1),
    (R101, "openvino f32", 1),
    (R101, "openvino bf16", 1),
)
TRAININGS = tuple(
    (network, policy, batch)
    for network in (LITE, LITE0) for policy in ("float32", "mixed_bfloat16") for batch in (4, 8)
)  # fmt: skip


def architecture_of(name: str) -> dict[str, Any]:
    """The `[architecture]` table of a network."""
    from cascade.networks.models import DEFAULT_MODELS, find_model
    from cascade.networks.nets.presets import PRESETS

    if name == TRAINED:
        return dict(find_model(DEFAULT_MODELS["segment"]).architecture)
    return {**PRESETS[name], "min_score": 0.05}


def model_of(name: str, folder: Path) -> Any:
    """A model folder with random weights, or the default model."""
    import keras

    from cascade.networks.models import DEFAULT_MODELS, build_network, find_model, write_model

    if name == TRAINED:
        shutil.copytree(find_model(DEFAULT_MODELS["segment"]).folder, folder)
        return find_model(folder)
    keras.utils.set_random_seed(1)
    architecture = architecture_of(name)
    network = build_network(architecture)
    return write_model(folder, network, task="segment", architecture=architecture, threshold=0.05, training={})


def images_of(n_images: int) -> np.ndarray:
    """Previews with artifacts."""
    from cascade.networks.engines.parity import parity_previews

    return np.tile(parity_previews(), (-(-n_images // 8), 1, 1))[:n_images]


class Stopwatch:
    """Accumulates the seconds spent in a callable."""

    def __init__(self, function: Any) -> None:
        self._function, self.seconds = function, 0.0

    def __call__(self, *args: Any) -> Any:
        start = time.perf_counter()
        result = self._function(*args)
        self.seconds += time.perf_counter() - start
        return result


class TimedRequest:
    """An OpenVINO request whose runs are timed."""

    def __init__(self, request: Any) -> None:
        self.infer = Stopwatch(request.infer)


def engine_of(info: Any, name: str) -> Any:
    """The engine of a variant."""
    from cascade.networks.engines import KerasEngine
    from cascade.networks.models import load_network

    if name.startswith("keras"):
        return KerasEngine(load_network(info), info.task)
    from cascade.networks.engines.openvino_cache import exported
    from cascade.networks.engines.openvino_run import OpenVINOEngine

    return OpenVINOEngine(exported(info)[0], info.task, name.split()[1])  # type: ignore[arg-type]


def measure(preset: str, engine_name: str, batch: int, folder: Path) -> dict[str, Any]:
    """One variant."""
    from cascade.networks.model_info import read_model
    from cascade.networks.segment import NetworkSegmenter

    info = read_model(folder / preset)
    engine = engine_of(info, engine_name)
    segmenter, images = NetworkSegmenter(engine, min_score=info.threshold), images_of(batch)
    found = segmenter.segment(images)
    segmenter.segment(images)
    if engine_name.startswith("keras"):
        watches = [Stopwatch(engine._network.predict_on_batch)]
        engine._network.predict_on_batch = watches[0]
    else:
        engine._requests = [TimedRequest(request) for request in engine._requests]
        watches = [request.infer for request in engine._requests]
    rounds = []
    for _ in range(2 if preset == R101 else ROUNDS):
        before = [watch.seconds for watch in watches]
        start = time.perf_counter()
        segmenter.segment(images)
        total = time.perf_counter() - start
        rounds.append((total, [watch.seconds - b for watch, b in zip(watches, before, strict=True)]))
    total, parts = min(rounds)
    row: dict[str, Any] = {
        "network": preset, "engine": engine_name, "batch": batch, "images_per_s": batch / total,
        "share_outside_network": 1 - sum(parts) / total, "instances_per_image": sum(map(len, found)) / batch,
    }  # fmt: skip
    if len(parts) > 1:
        from cascade.networks.engines.openvino_run import PARTS

        row["share_of_parts"] = {part: seconds / total for part, seconds in zip(PARTS["segment"], parts, strict=True)}
    if preset == LITE and batch == 8:
        row |= crowding(segmenter, images)
    return row


def crowding(segmenter: Any, images: np.ndarray) -> dict[str, float]:
    """Time on black images, with nearly equal scores of all boxes, and on noise, relative to the usual ones."""

    def best(given: np.ndarray) -> float:
        segmenter.segment(given)
        return min(_timed(segmenter.segment, given) for _ in range(3))

    usual = best(images)
    noise = np.random.default_rng(0).integers(0, 256, images.shape).astype(np.uint8)
    return {"time_on_black": best(np.zeros_like(images)) / usual, "time_on_noise": best(noise) / usual}


def _timed(function: Any, *args: Any) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def matmul_peak(folder: Path) -> dict[str, float]:
    """GFLOP/s of a large matrix product, the better of TensorFlow and OpenVINO."""
    import tensorflow as tf

    from cascade.networks.engines.openvino_export import write_part

    weights = tf.random.normal((MATMUL, MATMUL))
    write_part(lambda image: {"out": tf.matmul(image, weights)}, {"image": ((MATMUL, MATMUL), "float32")},
           folder / "product.xml")  # fmt: skip
    peak = {}
    for dtype, precision in ((tf.float32, "f32"), (tf.bfloat16, "bf16")):
        a = tf.cast(weights, dtype)
        product = tf.function(lambda a=a: tf.matmul(a, a))
        product()
        seconds = [_timed(lambda product=product: product().numpy()[0, 0]) for _ in range(5)]
        request = request_of(folder / "product.xml", precision)
        peak[dtype.name] = 2 * MATMUL**3 / min(*seconds, *(_timed(request.infer) for _ in range(5))) / 1e9
    return peak


def request_of(path: Path, precision: str) -> Any:
    """A compiled OpenVINO file, warmed up."""
    from cascade.networks.engines.openvino_run import import_openvino

    config = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    request = import_openvino().Core().compile_model(path, "CPU", config).create_infer_request()
    request.infer()
    return request


def backbone(folder: Path) -> dict[str, float]:
    """GFLOP/s of segment-lite's backbone and pyramid alone, and of a plain convolution, in OpenVINO."""
    import keras
    from keras import layers

    from cascade.networks.engines.openvino_export import write_part
    from cascade.networks.engines.openvino_run import native_precision
    from cascade.networks.models import build_network
    from cascade.networks.nets.cost import gflop
    from cascade.networks.nets.presets import PRESETS

    lite = build_network(PRESETS[LITE]).pyramid
    x = image = keras.Input((400, 400, 1))
    x = layers.Conv2D(64, 3, strides=4, padding="same")(x)
    for _ in range(6):
        x = layers.Conv2D(128, 3, padding="same", activation="relu")(x)
    plain = keras.Model(image, x)
    speeds = {}
    for name, network in (("segment-lite's backbone and pyramid", lite), (PLAIN, plain)):
        write_part(
            lambda image, network=network: {"out": network(image, training=False)},
            {"image": ((4, 400, 400, 1), "float32")}, folder / "part.xml",
        )  # fmt: skip
        for precision in dict.fromkeys(("f32", native_precision())):
            request = request_of(folder / "part.xml", precision)
            seconds = min(_timed(request.infer) for _ in range(10))
            speeds[f"{name}, {precision}"] = 4 * gflop(network) / seconds
    return speeds


def training_speed(name: str, policy: str, batch: int) -> dict[str, Any]:
    """Throughput of gradient steps on one synthetic batch."""
    import keras

    from cascade.core.artifact import Artifact
    from cascade.networks.models import build_network
    from cascade.networks.nets.mask_rcnn import LOSSES, MaskRCNNTraining, mean_loss
    from cascade.networks.nets.semantic import CELL_PX

    keras.mixed_precision.set_dtype_policy(policy)
    training = MaskRCNNTraining(
        build_network(architecture_of(name)), n_anchors=256, n_regions=64, n_positive=16, seed=0
    )
    training.compile(keras.optimizers.AdamW(1e-4), loss=dict.fromkeys(LOSSES, mean_loss), jit_compile=False)
    boxes, classes = np.zeros((batch, 16, 4), np.float32), np.full((batch, 16), -1, np.int32)
    masks = np.zeros((batch, 16, 400, 400), np.uint8)
    shares = np.zeros((batch, 400 // CELL_PX, 400 // CELL_PX, len(Artifact) + 1), np.float32)
    boxes[:, 0], classes[:, 0] = [80, 80, 240, 240], 1
    masks[:, 0, 80:240, 80:240] = 1
    shares[:, 80 // CELL_PX : 240 // CELL_PX, 80 // CELL_PX : 240 // CELL_PX, 1] = 1
    inputs = {"image": images_of(batch)[..., None].astype(np.float32), "boxes": boxes, "classes": classes,
              "masks": masks, "shares": shares}  # fmt: skip
    dummies = {name: np.zeros(batch, np.float32) for name in LOSSES}
    for _ in range(2):
        training.train_on_batch(inputs, dummies)
    seconds = min(_timed(training.train_on_batch, inputs, dummies) for _ in range(6))
    return {"network": name, "policy": policy, "batch": batch, "images_per_s": batch / seconds}


def alone(*arguments: str) -> dict[str, Any]:
    """Run a part of this study in a separate process; adds its peak memory."""
    print("measuring:", *arguments, file=sys.stderr)
    done = subprocess.run([sys.executable, __file__, "--alone", *arguments], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_alone(what: str, *arguments: str) -> dict[str, Any]:
    """Entry point of that process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if what == "write":
        for name in (LITE, LITE0, TRAINED, R101):
            engine_of(model_of(name, Path(arguments[0]) / name), "openvino f32")
        return {}
    if what == "measure":
        result = measure(arguments[0], arguments[1], int(arguments[2]), Path(arguments[3]))
    elif what == "train":
        result = training_speed(arguments[0], arguments[1], int(arguments[2]))
    elif what == "backbone":
        result = backbone(Path(arguments[0]))
    else:
        result = matmul_peak(Path(arguments[0]))
    return {**result, "peak_memory_mb": peak_memory_mb()}


def peak_memory_mb() -> float:
    """Peak resident memory of this process; `getrusage` would include its parent's from before the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def markdown(study: dict[str, Any]) -> str:
    """The tables."""
    product = study["matmul"]
    plain = {p: study["backbone"].get(f"{PLAIN}, {p}", 0.0) for p in ("f32", "bf16")}
    peak = {"float32": max(product["float32"], plain["f32"]), "bfloat16": max(product["bfloat16"], plain["bf16"])}
    lines = [
        f"Measured {study['date']} on {study['machine']}, {study['versions']}; `{study['command']}`.", "",
        f"Product of {MATMUL}² matrices: {product['float32']:.0f} GFLOP/s in float32, {product['bfloat16']:.0f} in "
        f"bfloat16; {PLAIN}: {plain['f32']:.0f} and {plain['bf16']:.0f}. The larger of each is the peak of this run.",
        "",
        "| network | engine | batch | images/s | GFLOP/s | of the peak | outside the network | artifacts per image | "
        "peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in study["inference"]:
        speed = row["images_per_s"] * study["gflop"][row["network"]]
        of_peak = speed / peak["bfloat16" if "bf16" in row["engine"] else "float32"]
        lines.append(
            f"| {row['network']} | {row['engine']} | {row['batch']} | {row['images_per_s']:.1f} | {speed:.0f} | "
            f"{of_peak:.0%} | {row['share_outside_network']:.1%} | {row['instances_per_image']:.1f} | "
            f"{row['peak_memory_mb']:.0f} MB |"
        )
    lines += ["", "| convolutions alone, OpenVINO, batch 4 | GFLOP/s | of the peak |", "|---|---|---|"]
    for name, speed in study["backbone"].items():
        if name != "peak_memory_mb":
            of_peak = speed / peak["bfloat16" if "bf16" in name else "float32"]
            lines.append(f"| {name} | {speed:.0f} | {of_peak:.0%} |")
    lines += ["", "| segment-lite, batch 8 | " + " | ".join(_PARTS)
              + " | on black images | on noise |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in study["inference"]:
        if "time_on_noise" in row:
            parts = row.get("share_of_parts", {})
            shares = [f"{parts[part]:.0%}" if parts else "" for part in _PARTS]
            crowds = f"x{row['time_on_black']:.2f} | x{row['time_on_noise']:.2f}"
            lines.append(f"| {row['engine']} | {' | '.join(shares)} | {crowds} |")
    lines += ["", "| training | precision | batch | images/s | peak memory |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['network']} | {row['policy']} | {row['batch']} | {row['images_per_s']:.1f} | "
        f"{row['peak_memory_mb']:.0f} MB |"
        for row in study["training"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="Folder for segmenter.json and segmenter.md.")
    parser.add_argument("--alone", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(run_alone(*options.alone)))
        return
    from cascade.networks.models import build_network
    from cascade.networks.nets.cost import gflop

    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        alone("write", folder)
        study = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} cores ({_processor()})",
            "versions": ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "openvino")),
            "command": "python benchmarks/segmenter_study.py --out benchmarks/results",
            "gflop": {name: gflop(build_network(architecture_of(name))) for name in (LITE, LITE0, TRAINED, R101)},
            "matmul": alone("matmul", folder),
            "backbone": alone("backbone", folder),
            "inference": [alone("measure", name, engine, str(batch), folder) for name, engine, batch in VARIANTS],
            "training": [alone("train", name, policy, str(batch)) for name, policy, batch in TRAININGS],
        }
    text = markdown(study)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "segmenter.json").write_text(json.dumps(study, indent=1) + "\n")
        (options.out / "segmenter.md").write_text(text)
    print(text)


def _processor() -> str:
    """Name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
