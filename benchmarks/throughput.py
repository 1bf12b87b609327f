"""
Throughput of the cascade with real networks, by stage.

    python benchmarks/throughput.py --out benchmarks/results [--n 8192]

Simulated exposures, 4 % ghosted, from a Zarr store of previews and from JPEGs; in this process, and with one and two
workers. The screen's threshold is set so that 4 % are flagged.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr
from cluster import PYTHON, machine
from PIL import Image

from cascade.bench.scaling import steady_s
from cascade.camera import Camera
from cascade.networks.models import find_model
from cascade.networks.screen import NetworkScreener
from cascade.runs.run import open_run
from cascade.simulate import simulate_season

SHARE_GHOSTED = 0.04
N_DRAWN = 512  # drawn once, then repeated
COMPUTING = ("screen", "segment", "tables", "store")  # sequential; reading overlaps with them


def write_inputs(work: Path, n: int) -> tuple[dict[str, Path], float]:
    """Write N exposures as Zarr and as JPEGs; returns them and the threshold that flags 4 %."""
    drawn = [e.image for e in simulate_season(N_DRAWN, Camera.decam(), ghosted_share=SHARE_GHOSTED, seed=1)]
    scores = NetworkScreener.load(find_model("screen-v1")).score(np.stack(drawn))
    threshold = float(np.quantile(scores, 1 - SHARE_GHOSTED))
    images = np.stack([drawn[k % N_DRAWN] for k in range(n)])
    group = zarr.open_group(work / "previews.zarr", mode="w", zarr_format=3)
    group.create_array("preview", data=images, chunks=(1, 400, 400), shards=(256, 400, 400))
    (work / "jpegs").mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image).save(work / "jpegs" / f"D{k:08d}.jpg", quality=75)
    return {"zarr": work / "previews.zarr", "jpegs": work / "jpegs"}, threshold


def measure(inputs: Path, out: Path, threshold: float, workers: int | None) -> dict[str, float]:
    """One run: exposures/s, and wall-clock time of each stage in its workers."""
    words = [PYTHON, "-m", "cascade", "run", str(inputs), "--out", str(out), "--threshold", str(threshold), "--quiet"]
    words += [] if workers is None else ["--workers", str(workers)]
    started = time.monotonic()
    subprocess.run(words, check=True, capture_output=True)
    wall = time.monotonic() - started
    content = json.loads((out / "run.json").read_text())
    steady = steady_s(out, workers or 1)  # without the start of workers and the loading of models
    if steady is None:
        message = "--n: expected 4,096 or more exposures, got too few for a steady state"
        raise RuntimeError(message)
    seconds, n = content["seconds"], open_run(out).config.n_exposures
    stages = max(seconds["read"], sum(seconds[name] for name in COMPUTING)) / (workers or 1)
    return {
        "wall_s": wall, "start_s": wall - steady * n, "steady_per_s": 1 / steady,
        "of the sum of stages": stages / (steady * n),
        **{f"{name}_ms": 1000 * spent / n for name, spent in seconds.items()},
    }  # fmt: skip


def report(result: dict[str, object]) -> str:
    """The result in Markdown."""
    rows = result["rows"]
    stages = [column for column in next(iter(rows.values())) if column.endswith("_ms")]
    milliseconds = [f"{stage[:-3]}, ms" for stage in stages]
    header = ["", "exposures/s", "of the sum of stages", *milliseconds, "start, s", "total, s"]
    lines = [
        f"{result['n']:,} exposures, 4 % flagged, batches of 256; {result['machine']}. "
        "`python benchmarks/throughput.py --out benchmarks/results`",
        "",
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
        *(
            f"| {name} | {row['steady_per_s']:.0f} | {row['of the sum of stages']:.0%} | "
            f"{' | '.join(f'{row[stage]:.2f}' for stage in stages)} | {row['start_s']:.1f} | {row['wall_s']:.1f} |"
            for name, row in rows.items()
        ),
        "",
        "*exposures/s* is for the steady state, from the n-th commit of n workers to the last; *start* is the rest: "
        "Python, Dask, loading the networks. Milliseconds are wall-clock time per exposure of one worker; two workers "
        "share two cores. *Of the sum of stages*: the larger of reading and the sum of the other stages, since reading "
        "overlaps with them, over the elapsed time; over Dask a batch is stored while the next one is computed, hence "
        "more than 100 %.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=8192)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="throughput-"))
    inputs, threshold = write_inputs(work, options.n)
    measure(inputs["zarr"], work / "warm", threshold, None)  # warm-up: exports the networks to OpenVINO
    rows = {
        f"{kind}, {'no Dask' if workers is None else f'workers: {workers}'}": measure(
            inputs[kind], work / f"{kind}-{workers}", threshold, workers
        )
        for kind in inputs
        for workers in (None, 1, 2)
    }
    shutil.rmtree(work)
    result = {"n": options.n, "machine": machine(), "rows": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "throughput.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "throughput.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
