"""
Fault injection: a season with workers that are killed, suspended, disconnected and out of disk space.

    python benchmarks/chaos.py --out benchmarks/results [--n 20000] [--workers 3] [--seed 1]

One input in a hundred is corrupt. While the season runs, every one to four seconds a worker is killed (SIGKILL) or
suspended (SIGSTOP) for a while, or the disk is filled (a tmpfs, if this user may mount one); the scheduler is killed
once, and so is `cascade run` itself. Then the run must equal an undisturbed one in every row and pixel.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from cluster import PYTHON, Cluster, family, machine
from PIL import Image
from pyarrow import dataset, parquet

from cascade.runs.run import Run, open_run
from cascade.runs.tables import SCHEMAS
from cascade.runs.verify import verify_run

N_FILES = 500
SHARE_GHOSTED, SHARE_CORRUPT = 0.04, 0.01
EVENTS = ("kill", "kill", "stop", "fill")
STOPPED_S = (1.0, 25.0)
WORKER_TTL_S = 15  # so that some suspended workers are removed by the scheduler, and reconnect as unknown ones
PATIENCE_S = 3600.0


def write_season(folder: Path, n: int) -> tuple[Path, set[int]]:
    """Write a manifest of N rows; returns it and the rows of corrupt files."""
    folder.mkdir(parents=True)
    n_corrupt = max(1, round(SHARE_CORRUPT * N_FILES))
    for k in range(N_FILES):
        image = np.full((400, 400), 50, np.uint8)
        image[0, 0] = 150 + k % 100 if k % round(1 / SHARE_GHOSTED) == 0 else k % 100
        Image.fromarray(image).save(folder / f"{k:04d}.png")
    corrupt = sorted(random.Random(0).sample(range(N_FILES), n_corrupt))
    damages = (lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"GIF89a", lambda data: data[:40])
    for number, k in enumerate(corrupt):
        path = folder / f"{k:04d}.png"
        path.write_bytes(damages[number % len(damages)](path.read_bytes()))
    files = np.random.default_rng(1).integers(0, N_FILES, n)
    files[: len(corrupt)] = corrupt
    table = pa.table({"expnum": np.arange(n) + 1_000_000, "path": [f"{k:04d}.png" for k in files]})
    parquet.write_table(table, folder / "season.parquet")
    return folder / "season.parquet", set(np.flatnonzero(np.isin(files, corrupt)).tolist())


@contextmanager
def small_disk(folder: Path, megabytes: int):
    """A file system of that size, or a normal folder if this user may not mount one; yields whether it is limited."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        small = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        small = False
    try:
        yield small
    finally:
        if small:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass
class Chaos:
    """
    Faults injected into a season.

    Attributes
    ----------
    command
        The `cascade run` command.
    cluster
        Scheduler and workers.
    run
        The run directory.
    filler
        A file that fills its disk, or None if the disk is not limited.
    """

    command: list[str]
    cluster: Cluster
    run: Path
    filler: Path | None
    random: random.Random
    pause_s: tuple[float, float]
    events: Counter[str] = field(default_factory=Counter)
    later: list[tuple[float, object]] = field(default_factory=list)

    def go_through(self, n_batches: int) -> None:
        """Run the command to completion under faults, repeating it if it fails."""
        with self.run.with_name("client.log").open("ab") as log:
            self._go_through(n_batches, log)

    def _go_through(self, n_batches: int, log) -> None:
        client = self._start(log)
        deadline = time.monotonic() + PATIENCE_S
        next_event, done_before = time.monotonic() + self.random.uniform(*self.pause_s), 0.0
        while (code := client.poll()) != 0:
            if time.monotonic() > deadline:
                client.kill()
                message = f"not done after {PATIENCE_S:.0f} s: {self.events}"
                raise TimeoutError(message)
            if code is not None:
                self.events["cascade run exited early and was restarted"] += 1
                client = self._start(log)
            for due, action in [entry for entry in self.later if entry[0] <= time.monotonic()]:
                self.later.remove((due, action))
                action()
            done = len(list((self.run / "ledger").glob("batch-*.json"))) / n_batches
            if done > 0.3 and not self.events["scheduler killed"]:
                self.events["scheduler killed"] += 1
                self.cluster.scheduler.kill()
                self.cluster.scheduler.wait()
            if done > 0.6 and not self.events["cascade run killed"]:
                self.events["cascade run killed"] += 1
                for process in family(client.pid):
                    process.kill()
            # Only after progress since the last fault: a slow machine must not only restart workers.
            if time.monotonic() >= next_event and done_before < done < 0.95:
                self._inject(self.random.choice(EVENTS))
                done_before = done
                next_event = time.monotonic() + self.random.uniform(*self.pause_s)
            self.cluster.start()
            time.sleep(0.5)
        for _, action in self.later:
            action()

    def _start(self, log) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command, stdout=log, stderr=log)

    def _inject(self, event: str) -> None:
        number = self.random.randrange(self.cluster.n_workers)
        if event == "kill":
            self.events["workers killed"] += 1
            self.cluster.signal_worker(number, signal.SIGKILL)
        elif event == "stop":
            self.events["workers stopped"] += 1
            pid, spell = self.cluster.workers[number].pid, self.random.uniform(*STOPPED_S)
            self.cluster.signal_worker(number, signal.SIGSTOP)

            def wake() -> None:
                for process in family(pid):
                    process.send_signal(signal.SIGCONT)

            self.later.append((time.monotonic() + spell, wake))
        elif event == "fill" and self.filler is not None and not self.filler.exists():
            self.events["disk filled"] += 1
            with suppress(OSError), self.filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(2**16))
            self.later.append((time.monotonic() + self.random.uniform(2.0, 8.0), self.filler.unlink))


def differences(run: Run, quiet: Run, corrupt: set[int]) -> dict[str, bool]:
    """Checks of a run under faults against an undisturbed one."""
    same = {f"{name} as in the undisturbed run": run.table(name).equals(quiet.table(name)) for name in SCHEMAS}
    planes = [np.array_equal(run.masks[b.start : b.stop], quiet.masks[b.start : b.stop]) for b in run.batches()]
    exposures = run.table("exposures")
    plain = {name: dataset.dataset(run.path / name).to_table().num_rows for name in SCHEMAS}
    return same | {
        "masks as in the undisturbed run": all(planes),
        "files as in the undisturbed run": [e.files for e in run.entries(run.done())]
        == [e.files for e in quiet.entries(quiet.done())],
        "each exposure once": exposures["exposure"].to_pylist() == list(range(run.config.n_exposures)),
        "failures are the corrupt inputs": set(run.table("failures")["exposure"].to_pylist()) == corrupt,
        "any Parquet reader finds as many rows": plain == {name: run.table(name).num_rows for name in SCHEMAS},
        "verified": verify_run(run) == [],
        "complete": run.summary().status == "complete",
        "no partial files left": not list(run.path.rglob("*.aside")),
    }


def season_under_chaos(
    work: Path, *, n: int, batch: int, n_workers: int, seed: int, pause_s: tuple[float, float], megabytes: int = 64
) -> dict[str, object]:
    """Run a season undisturbed and under faults, and compare."""
    manifest, corrupt = write_season(work / "season", n)
    words = [PYTHON, "-m", "cascade", "run", str(manifest), "--stub", "--batch", str(batch)]
    started = time.monotonic()
    subprocess.run([*words, "--quiet", "--out", str(work / "quiet")], check=True, capture_output=True)
    quiet_s = time.monotonic() - started
    disk = work / "disk"
    settings = {"WORKER_TTL": f"{WORKER_TTL_S}s", "ALLOWED_FAILURES": "1"}
    environment = {f"DASK_DISTRIBUTED__SCHEDULER__{name}": value for name, value in settings.items()}
    cluster = Cluster(work / "logs", n_workers, environment=environment)
    started = time.monotonic()
    with small_disk(disk, megabytes) as small:
        chaos = Chaos(
            [*words, "--scheduler", cluster.address, "--out", str(disk / "RUN")],
            cluster,
            disk / "RUN",
            disk / "filler" if small else None,
            random.Random(seed),
            pause_s,
        )
        try:
            cluster.start()
            chaos.go_through(-(-n // batch))
            seconds = time.monotonic() - started
            verdicts = differences(open_run(disk / "RUN"), open_run(work / "quiet"), corrupt)
            log = [
                json.loads(line)
                for path in sorted((disk / "RUN" / "logs").iterdir())
                for line in path.read_text().splitlines()
            ]
        finally:
            cluster.stop()
    logged = Counter(line["event"] for line in log)
    return {
        "n": n, "batch": batch, "workers": n_workers, "seed": seed, "machine": machine(), "corrupt": len(corrupt),
        "quiet_s": quiet_s, "seconds": seconds, "happened": dict(chaos.events), "log": dict(logged),
        "causes of retries": dict(Counter(line["cause"][:90] for line in log if line["event"] == "retry")),
        "verdicts": verdicts,
    }  # fmt: skip


def report(result: dict[str, object]) -> str:
    """The result in Markdown."""
    lines = [
        f"{result['n']:,} exposures, batches of {result['batch']}, {result['workers']} workers; {result['machine']}. "
        "`python benchmarks/chaos.py --out benchmarks/results`",
        "",
        f"Undisturbed (no Dask): {result['quiet_s']:.0f} s. With faults: {result['seconds']:.0f} s. Corrupt inputs: "
        f"{result['corrupt']}.",
        "",
        "| event | count |",
        "|---|---|",
        *(f"| {event} | {times} |" for event, times in result["happened"].items()),
        *(f"| run log: {event} | {times} |" for event, times in result["log"].items() if event != "batch"),
        "",
        "| check | passed |",
        "|---|---|",
        *(f"| {name} | {'yes' if verdict else '**NO**'} |" for name, verdict in result["verdicts"].items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="chaos-"))
    result = season_under_chaos(
        work, n=options.n, batch=options.batch, n_workers=options.workers, seed=options.seed, pause_s=(1.0, 4.0)
    )
    shutil.rmtree(work)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "chaos.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "chaos.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
