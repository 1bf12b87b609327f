"""
How fast is the real cascade, and where does the time go?

    python benchmarks/throughput.py --out benchmarks/results [--n 8192]

Drawn exposures, 4 % of them ghosted, from a Zarr store of previews and from JPEGs; in this process, and with one and
two workers. The screen's threshold is set so that 4 % are flagged, whatever the model makes of drawn exposures.
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
COMPUTING = ("screen", "segment", "tables", "store")  # one after the other; reading goes on meanwhile


def write_inputs(work: Path, n: int) -> tuple[dict[str, Path], float]:
    """N exposures as Zarr and as JPEGs, and the threshold that flags 4 % of them."""
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
    """One run: exposures/s, and wall seconds of each stage as its workers saw them."""
    words = [PYTHON, "-m", "cascade", "run", str(inputs), "--out", str(out), "--threshold", str(threshold), "--quiet"]
    words += [] if workers is None else ["--workers", str(workers)]
    started = time.monotonic()
    subprocess.run(words, check=True, capture_output=True)
    wall = time.monotonic() - started
    content = json.loads((out / "run.json").read_text())
    pace_s = steady_s(out, workers or 1)  # starting workers and loading models is told apart
    if pace_s is None:
        message = "--n: expected 4,096 or more exposures, got too few to tell a pace from"
        raise RuntimeError(message)
    seconds, n = content["seconds"], open_run(out).config.n_exposures
    stages = max(seconds["read"], sum(seconds[name] for name in COMPUTING)) / (workers or 1)
    return {
        "wall_s": wall, "start_s": wall - pace_s * n, "steady_per_s": 1 / pace_s,
        "of the sum of stages": stages / (pace_s * n),
        **{f"{name}_ms": 1000 * spent / n for name, spent in seconds.items()},
    }  # fmt: skip


def report(result: dict[str, object]) -> str:
    """The result in Markdown."""
    rows = result["rows"]
    stages = [column for column in next(iter(rows.values())) if column.endswith("_ms")]
    milliseconds = [f"{stage[:-3]}, ms" for stage in stages]
    header = ["", "exposures/s", "of the sum of stages", *milliseconds, "start, s", "in all, s"]
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
        "*exposures/s* is of the time when all are at work, from the commit by which each worker may have done one to "
        "the last; *start* is the rest: Python, Dask, loading the networks. Milliseconds are wall time an exposure of "
        "one worker; two workers share two cores. *Of the sum of stages*: the larger of reading and the sum of the "
        "other stages, since reading goes on meanwhile, over the time that passed; over Dask a batch is stored while "
        "the next one is computed, hence more than 100 %.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=8192)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="throughput-"))
    inputs, threshold = write_inputs(work, options.n)
    measure(inputs["zarr"], work / "warm", threshold, None)  # prepares the networks for OpenVINO
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
