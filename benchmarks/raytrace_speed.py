"""
Time `cascade raytrace` over a table of pointings: ``python benchmarks/raytrace_speed.py [--n 50000] [--workers 2]``.

Pointings are uniform on the sky south of the equator, in g, r, i, z, from 2012 to 2020. Writes
``benchmarks/results/raytrace_speed.json``: seconds of the command, tables, masks and start included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from cascade.runs.run import open_run

OUT = Path(__file__).parent / "results/raytrace_speed.json"


def pointings(n: int) -> pa.Table:
    """Random pointings."""
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "expnum": np.arange(1, n + 1),
            "ra": rng.uniform(0, 360, n),
            "dec": -np.rad2deg(np.arcsin(rng.uniform(0, 1, n))),
            "band": rng.choice(["g", "r", "i", "z"], n),
            "mjd_obs": rng.uniform(56200, 59000, n),
        }
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        table, out = Path(folder) / "pointings.parquet", Path(folder) / "RUN"
        pyarrow.parquet.write_table(pointings(options.n), table)
        start = perf_counter()
        command = [sys.executable, "-m", "cascade", "raytrace", table, "--out", out, "-q", "--workers", options.workers]
        subprocess.run([str(word) for word in command], check=True)
        seconds = perf_counter() - start
        counts = open_run(out).summary().counts
    result = {
        "pointings": options.n,
        "workers": options.workers,
        "seconds": round(seconds, 1),
        "ms_per_pointing": round(1000 * seconds / options.n, 3),
        "a_million_hours": round(seconds / options.n * 1e6 / 3600, 2),
        "ghosted": counts.n_ghosted,
        "artifacts": counts.n_artifacts,
    }
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
