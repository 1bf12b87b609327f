"""
The networks on a GPU: exposures/s by batch size, and parity with the CPU.

    python benchmarks/gpu.py --out benchmarks/results

Needs TensorFlow with CUDA (`pip install 'tensorflow[and-cuda]'`). Without a GPU it reports that, and times the CPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np
from cluster import machine

from cascade.camera import Camera
from cascade.core.keras_startup import import_keras
from cascade.networks.engines import load_engine
from cascade.networks.engines.base import KerasEngine
from cascade.networks.engines.parity import compare, parity_previews
from cascade.networks.models import find_model, load_network
from cascade.simulate import simulate_season

MODELS = ("screen-v1", "segment-lite-v1")
BATCHES = (1, 8, 32, 128, 256)
N_DRAWN = 64
SECONDS = 5.0  # of each measurement


def gpu() -> str:
    """Name and driver of the GPU, or "no GPU"."""
    try:
        words = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "no GPU"


def speed(network: object, images: np.ndarray, batch: int) -> float:
    """Exposures/s of a network, including the transfer of outputs to the CPU."""
    block = np.resize(images, (batch, *images.shape[1:]))[..., None].astype(np.float32)
    network.predict_on_batch(block)  # warm-up
    n, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < SECONDS:
        network.predict_on_batch(block)
        n += batch
    return n / spent


def measure(name: str, images: np.ndarray) -> dict[str, object]:
    """Throughput by batch size with `--engine keras`, and parity with the CPU engine."""
    info = find_model(name)
    on_cpu, network = load_engine(info, "openvino"), load_network(info)
    on_gpu = KerasEngine(network, info.task)
    drawn = parity_previews()
    parity = compare(info, on_cpu(drawn), on_gpu(drawn))
    return {
        "engine": on_gpu.name,
        "against": on_cpu.name,
        "close": parity.close,
        "parity": str(parity),
        "per_s": {batch: speed(network, images, batch) for batch in BATCHES},
    }


def report(result: dict[str, object]) -> str:
    """The result in Markdown."""
    lines = [f"{result['gpu']}; {result['machine']}. `python benchmarks/gpu.py --out benchmarks/results`", ""]
    lines += [f"| exposures/s by batch | {' | '.join(map(str, BATCHES))} | parity with the CPU |"]
    lines += ["|---" * (len(BATCHES) + 2) + "|"]
    for name, row in result["models"].items():
        speeds = " | ".join(f"{value:.1f}" for value in row["per_s"].values())
        verdict = "yes" if row["close"] else "**NO**"
        lines.append(f"| {name}, {row['engine']} | {speeds} | {verdict}, {row['against']}: {row['parity']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    import_keras()
    images = np.stack([e.image for e in simulate_season(N_DRAWN, Camera.decam(), ghosted_share=0.5, seed=1)])
    result = {"gpu": gpu(), "machine": machine(), "models": {name: measure(name, images) for name in MODELS}}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "gpu.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
