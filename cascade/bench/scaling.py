"""Study 3: time per exposure and memory, from a hundred to a hundred thousand exposures, and over workers."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cascade.bench.pool import Pool
from cascade.bench.profiled import Profiled, profiled
from cascade.bench.seasons import Networks
from cascade.bench.study import Progress
from cascade.evaluate.screening import SURVEY_PREVALENCE
from cascade.pipeline.season import run_season, run_stub
from cascade.storage.atomic import read_json

N_ALONE = (100, 1_000, 10_000, 20_000)
"""Exposures through the real networks in one process, at scale 1; surveys are extrapolated from the last."""

N_WORKERS = (1_000, 10_000)
WORKERS = (1, 2)
"""Through the real networks over Dask."""

N_STUBS = (100, 1_000, 10_000, 100_000)
"""Through stubs of the networks: the cost of everything else."""

CLUSTER = (1, 2, 4, 8)
N_CLUSTER = 2_000
_PAUSE_S = 0.01  # per exposure: emulates networks on another device, so that workers do not share the cores
_CLUSTER_BATCH = 32
_MIN_BATCHES = 4  # per worker, to measure its throughput

_STORE = 1_000  # exposures per store; larger seasons list it several times
_LEAST = 40
_LEVELS = (50, 200)  # of clean and ghosted exposures, for the stubs

SURVEYS = {"DES DR2": 76_217, "a year of LSST": 200_000}
"""Number of exposures."""


@dataclass(frozen=True, slots=True)
class Task:
    """
    One season to time.

    Attributes
    ----------
    store
        Store of previews.
    n_times
        Number of copies in the season.
    folder
        Output folder.
    networks
        None: stubs.
    workers
        None: no Dask.
    pause_s
        Seconds that stubs sleep per exposure.
    """

    store: Path
    n_times: int
    folder: Path
    networks: Networks | None
    workers: int | None
    pause_s: float = 0.0


def study_scaling(networks: Networks, pool: Path, *, scale: float, progress: Progress) -> dict[str, Any]:
    """
    Time seasons of increasing size and number of workers, each in fresh processes.

    Parameters
    ----------
    networks : Networks
    pool : Path
        See `cascade.bench.seasons.study_seasons`.
    scale : float
        Of the numbers of exposures; 1 is the full study.
    progress : callable

    Returns
    -------
    dict
        `rows`, one per season; `cluster`, with sleeping stubs; `surveys`, minutes extrapolated from the largest
        season through the real networks.
    """
    with tempfile.TemporaryDirectory(prefix="cascade-bench-") as folder:
        progress("drawing exposures and preparing the networks")
        size = min(_STORE, max(_LEAST, round(max(N_STUBS) * scale)))
        n_ghosted = max(1, round(size * SURVEY_PREVALENCE))
        stores = _Stores(Path(folder), Pool.draw(pool, size - n_ghosted, n_ghosted))
        _timed(stores, _LEAST, networks, None)
        rows = []
        plan: list[tuple[int, Networks | None, int | None]] = [(n, networks, None) for n in N_ALONE]
        plan += [(n, networks, workers) for workers in WORKERS for n in N_WORKERS]
        plan += [(n, None, max(WORKERS)) for n in N_STUBS]
        for n, chosen, workers in dict.fromkeys((max(_LEAST, round(n * scale)), who, how) for n, who, how in plan):
            progress(f"{n} exposures, {'stubs' if chosen is None else 'networks'}, {workers or 'no'} workers")
            rows.append(_timed(stores, n, chosen, workers))
        cluster = []
        n = max(_LEAST, round(N_CLUSTER * scale))
        for workers in CLUSTER:
            progress(f"{n} exposures, sleeping stubs, {workers} workers")
            cluster.append(_timed(stores, n, None, workers, pause_s=_PAUSE_S))
    stretch = max((row for row in rows if row["workers"] is None), key=lambda row: row["n"])
    return {
        "study": "scaling", "scale": scale, "networks": networks.as_json(), "rows": rows, "cluster": cluster,
        "pause_ms": 1000 * _PAUSE_S, "stretch": stretch["n"],
        "surveys": {name: {"n": n, "minutes": n * stretch["ms"] / 60_000} for name, n in SURVEYS.items()},
    }  # fmt: skip


class _Stores:
    """
    Stores of previews at a survey's prevalence, written lazily.

    Parameters
    ----------
    folder : Path
        Output folder.
    pool : Pool
        Simulated exposures, enough for the largest store.
    """

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.folder, self._pool, self._n_runs = folder, pool, 0

    def store(self, n: int, *, marked: bool) -> Path:
        """A store of n exposures, with or without the levels for stubs."""
        path = self.folder / f"{'marked-' if marked else ''}{n}.zarr"
        if not path.exists():
            chosen = self._pool.season(n, SURVEY_PREVALENCE)
            self._pool.write(chosen, path, mark=_LEVELS if marked else ())
        return path

    def new_run(self) -> Path:
        """A folder for one run and its inputs."""
        self._n_runs += 1
        folder = self.folder / f"run-{self._n_runs}"
        folder.mkdir()
        return folder


def _timed(
    stores: _Stores, n: int, networks: Networks | None, workers: int | None, *, pause_s: float = 0.0
) -> dict[str, Any]:
    """Run one season, profiled."""
    n_times = -(-n // _STORE)
    store = stores.store(n if n_times == 1 else _STORE, marked=networks is None)
    seen = profiled(run_copies, Task(store, n_times, stores.new_run(), networks, workers, pause_s))
    return {
        **seen.value, "networks": networks is not None, "workers": workers, "peak_mb": seen.peak_mb,
        "memory_mb": _memory(seen),
    }  # fmt: skip


def run_copies(task: Task) -> dict[str, Any]:
    """
    Run a season that lists one store several times, under different names.

    Returns
    -------
    dict
        `n`, `seconds` from the first batch to the last, including the start of workers; `ms` per exposure, for long
        seasons over Dask in the steady state.
    """
    inputs = [task.folder / f"{number:04d}.zarr" for number in range(task.n_times)]
    for link in inputs:
        link.symlink_to(task.store, target_is_directory=True)
    names, out = [str(link) for link in inputs], task.folder / "run"
    if task.networks is None:
        batch_size = _CLUSTER_BATCH if task.pause_s else 256
        run_stub(names, out, n_workers=task.workers, batch_size=batch_size, pause_s=task.pause_s)
    else:
        run_season(
            names, out, screen=task.networks.screen, segment=task.networks.segment, engine=task.networks.engine,
            n_workers=task.workers,
        )  # fmt: skip
    session = read_json(out / "run.json")["last_session"]
    n, seconds = session["n_exposures"], session["seconds"]
    steady = None if task.workers is None else steady_s(out, task.workers)
    return {"n": n, "seconds": seconds, "ms": 1000 * (seconds / n if steady is None else steady)}


def steady_s(run: Path, workers: int) -> float | None:
    """
    Measure the steady-state time per exposure of a run, with all workers busy.

    Parameters
    ----------
    run : Path
        Run directory of a single session.
    workers : int

    Returns
    -------
    float or None
        Seconds per exposure from the n-th commit of n workers to the last; None with too few later batches. From the
        first commit on, batches nearly finished by the other workers would be counted in full.
    """
    log = [json.loads(line) for path in (run / "logs").iterdir() for line in path.read_text().splitlines()]
    batches = sorted((datetime.fromisoformat(e["time"]), e["n_exposures"]) for e in log if e["event"] == "batch")
    later = batches[workers:]
    if len(later) < _MIN_BATCHES * workers:
        return None
    return float((later[-1][0] - batches[workers - 1][0]).total_seconds() / sum(size for _, size in later))


def _memory(seen: Profiled[Any]) -> dict[str, float]:
    """Maximum megabytes in the middle fifth and in the last fifth of the time."""
    n = len(seen.memory_mb)
    middle, late = seen.memory_mb[2 * n // 5 : 3 * n // 5 + 1], seen.memory_mb[4 * n // 5 :]
    return {"middle": max(middle), "late": max(late)}
