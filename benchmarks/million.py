"""
A million exposures through a real scheduler: memory growth, and overhead per exposure.

    python benchmarks/million.py --out benchmarks/results [--n 1000000] [--workers 2]

The manifest lists N expnums on 1,000 small PNG files; the networks are stubs (`cascade run --stub`), so that only the
overhead is measured. The machine may be shared: CPU seconds are decisive, wall-clock times are informative.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cluster import PYTHON, Cluster, machine, usage
from PIL import Image
from pyarrow import parquet

from cascade.camera import Camera
from cascade.inputs import open_inputs
from cascade.networks.stub import THRESHOLD, StubLoader
from cascade.pipeline.batch import process_readings, read_batch
from cascade.runs.config import Batch
from cascade.runs.run import open_run

N_FILES = 1000
N_GHOSTED = 40  # of the files: 4 %, as in DELVE
BATCH = 256
SAMPLED_EVERY_S = 5.0


def write_season(folder: Path, n: int) -> Path:
    """Write N expnums on `N_FILES` previews, of which `N_GHOSTED` are above the threshold of the stubs."""
    folder.mkdir(parents=True)
    for k in range(N_FILES):
        image = np.full((400, 400), 50, np.uint8)
        image[0, 0] = 150 + k % 100 if k < N_GHOSTED else k % 100
        Image.fromarray(image).save(folder / f"{k:04d}.png")
    # Ghosted ones are spread evenly, and every row is known from its expnum.
    files = np.random.default_rng(1).integers(0, N_FILES, n)
    names = pa.array([f"{k:04d}.png" for k in range(N_FILES)])
    table = pa.table({"expnum": pa.array(np.arange(n) + 1_000_000), "path": names.take(pa.array(files))})
    parquet.write_table(table, folder / "season.parquet")
    return folder / "season.parquet"


def check(run_folder: Path, manifest: Path) -> dict[str, object]:
    """Check that the tables are complete and correct; every value is known from the manifest."""
    run = open_run(run_folder)
    given, exposures = parquet.read_table(manifest), run.table("exposures")
    numbers = np.array([int(path[-8:-4]) for path in given["path"].to_pylist()])
    ghosted = numbers < N_GHOSTED
    levels = np.where(ghosted, 150 + numbers % 100, numbers % 100)
    statuses = exposures["status"].to_numpy(zero_copy_only=False)
    artifacts = run.table("artifacts")
    return {
        "every expnum once, in order": exposures["expnum"].to_pylist() == given["expnum"].to_pylist(),
        "positions": bool((exposures["exposure"].to_numpy() == np.arange(len(given))).all()),
        "scores": bool(np.allclose(exposures["screen_score"].to_numpy(), levels / 255)),
        "statuses": bool((statuses == np.where(ghosted, "ghosted", "clean")).all()),
        "artifacts": bool((artifacts["exposure"].to_numpy() == np.flatnonzero(ghosted)).all()),
        "areas of artifacts": bool((artifacts["area_px"].to_numpy() == levels[ghosted] ** 2).all()),
        "no failures": run.table("failures").num_rows == 0,
        "CCD rows belong to ghosted ones": bool(
            pc.all(pc.is_in(run.table("ccds")["exposure"], value_set=pa.array(np.flatnonzero(ghosted)))).as_py()
        ),
        "some masks": all(
            int((np.asarray(run.masks[k]) > 0).sum()) == (levels[k] ** 2 if ghosted[k] else 0)
            for k in np.linspace(0, len(given) - 1, 40).astype(int)
        ),
    }  # fmt: skip


def bare_cost(manifest: Path, n_batches: int = 4) -> dict[str, float]:
    """CPU milliseconds per exposure of reading and of the rest of the pipeline alone, in this thread."""
    reader, camera = open_inputs(manifest), Camera.decam()
    screener, segmenter = StubLoader()()
    seconds = {"read": 0.0, "process": 0.0}
    for k in range(n_batches):
        start = time.thread_time()
        batch = Batch(k, k * BATCH, (k + 1) * BATCH)
        readings = read_batch(reader.part(batch.start, batch.stop), batch, camera)
        middle = time.thread_time()
        process_readings(readings, screener, segmenter, camera, THRESHOLD)
        seconds["read"] += middle - start
        seconds["process"] += time.thread_time() - middle
    return {name: 1000 * spent / (n_batches * BATCH) for name, spent in seconds.items()}


def measure(work: Path, n: int, n_workers: int) -> dict[str, object]:
    """Run the season and sample memory and CPU time of the processes."""
    manifest, run = write_season(work / "season", n), work / "RUN"
    bare = bare_cost(manifest)
    cluster = Cluster(work / "logs", n_workers)
    cluster.start()
    words = [PYTHON, "-m", "cascade", "run", str(manifest), "--stub", "--scheduler", cluster.address, "--out", str(run)]
    samples = []
    started = time.monotonic()
    with (work / "client.log").open("wb") as log:
        client = subprocess.Popen([*words, "--batch", str(BATCH)], stdout=log, stderr=log)
        try:
            while client.poll() is None:
                who = {"client": client.pid, "scheduler": cluster.scheduler.pid, "worker": cluster.workers[0].pid}
                used = {name: usage(pid) for name, pid in who.items()}
                all_workers = sum(usage(worker.pid)[1] for worker in cluster.workers.values())
                n_done = BATCH * len(list((run / "ledger").glob("batch-*.json")))
                samples.append({
                    "seconds": time.monotonic() - started, "n_done": n_done,
                    **{f"{name}_mb": mega for name, (mega, _) in used.items()},
                    "client_cpu_s": used["client"][1], "scheduler_cpu_s": used["scheduler"][1],
                    "workers_cpu_s": all_workers,
                })  # fmt: skip
                time.sleep(SAMPLED_EVERY_S)
        finally:
            cluster.stop()
    if client.returncode:
        raise RuntimeError((work / "client.log").read_text()[-2000:])
    content = json.loads((run / "run.json").read_text())
    last = samples[-1]
    cpu = {name: 1000 * last[f"{name}_cpu_s"] / n for name in ("client", "scheduler", "workers")}
    return {
        "n": n,
        "workers": n_workers,
        "batch": BATCH,
        "machine": machine(),
        "session": content["last_session"],
        "stage_wall_ms": {stage: 1000 * spent / n for stage, spent in content["seconds"].items()},
        "cpu_ms": cpu,
        "bare_cpu_ms": bare,
        "overhead_cpu_ms": sum(cpu.values()) - sum(bare.values()),
        "checks": check(run, manifest),
        "files": sum(1 for path in run.rglob("*") if path.is_file()),
        "bytes": sum(path.stat().st_size for path in run.rglob("*") if path.is_file()),
        "samples": samples,
    }


def growth(samples: list[dict[str, float]], who: str) -> tuple[float, float, float]:
    """Megabytes at 10 % of the season and at its end, and their slope in MB per million exposures between."""
    total = max(sample["n_done"] for sample in samples)
    later = [sample for sample in samples if sample["n_done"] >= 0.1 * total]
    done = np.array([sample["n_done"] for sample in later]) / 1e6
    mega = np.array([sample[f"{who}_mb"] for sample in later])
    return mega[0], mega[-1], float(np.polyfit(done, mega, 1)[0]) if len(later) > 2 else float("nan")


def write_report(result: dict[str, object], out: Path) -> None:
    """JSON, Markdown and a figure."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "million.json").write_text(json.dumps(result, indent=1) + "\n")
    samples = result["samples"]
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for who in ("scheduler", "client", "worker"):
        axes.plot([s["n_done"] / 1e6 for s in samples], [s[f"{who}_mb"] for s in samples], label=who)
    axes.set(xlabel="exposures committed (million)", ylabel="resident memory (MB)", ylim=(0, None))
    axes.legend()
    figure.savefig(out / "million.png", dpi=110)
    verdicts = [f"{name} {'ok' if passed else '**WRONG**'}" for name, passed in result["checks"].items()]
    session, cpu, bare = result["session"], result["cpu_ms"], result["bare_cpu_ms"]
    lines = [
        f"{result['n']:,} exposures, {result['workers']} workers of two threads, batches of {result['batch']}; "
        f"{result['machine']}. `python benchmarks/million.py --out benchmarks/results --n {result['n']}`",
        "",
        "| memory (MB) | at 10 % | at the end | slope, MB per million exposures |",
        "|---|---|---|---|",
        *(f"| {who} | {a:.0f} | {b:.0f} | {slope:.1f} |"
          for who, (a, b, slope) in ((w, growth(samples, w)) for w in ("scheduler", "client", "worker"))),
        "",
        "| CPU milliseconds per exposure | |",
        "|---|---|",
        *(f"| {who} | {spent:.3f} |" for who, spent in cpu.items()),
        f"| of which reading | {bare['read']:.3f} |",
        f"| of which the pipeline with stubs: rows, CCDs, masks | {bare['process']:.3f} |",
        f"| **overhead**: Dask, store, ledger, start and end | **{result['overhead_cpu_ms']:.3f}** |",
        "",
        f"Wall-clock time: {session['seconds']:.0f} s, {session['exposures_per_s']:.0f} exposures/s; of this the store "
        f"takes {result['stage_wall_ms']['store']:.2f} ms per exposure. {result['files']:,} files, "
        f"{result['bytes'] / 1e6:.0f} MB.",
        "",
        "Checks: " + ", ".join(verdicts),
    ]  # fmt: skip
    (out / "million.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="million-"))
    try:
        write_report(measure(work, options.n, options.workers), options.out)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
