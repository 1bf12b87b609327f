"""A scheduler and workers as separate processes, for benchmarks: each can be monitored, suspended and killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PYTHON = sys.executable


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Cluster:
    """
    One scheduler and some workers with two threads each, without Dask's nannies: the benchmark restarts killed ones.

    Attributes
    ----------
    folder
        Folder of the logs.
    n_workers
        Workers to start.
    environment
        Additional environment variables.
    wrap
        Words before each worker's command, such as ``ip netns exec``.
    host
        Address of the scheduler.
    """

    folder: Path
    n_workers: int
    environment: dict[str, str] = field(default_factory=dict)
    wrap: tuple[tuple[str, ...], ...] = ()
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    scheduler: subprocess.Popen[bytes] | None = None
    workers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Address for clients."""
        return f"tcp://{self.host}:{self.port}"

    def start(self) -> None:
        """Start what is not running."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            words = ["scheduler", "--host", self.host, "--port", str(self.port), "--no-dashboard", "--no-show"]
            self.scheduler = self._spawn("scheduler", words, self.wrap[0] if self.wrap else ())
            self._await_scheduler()
        for number in range(self.n_workers):
            if number not in self.workers or self.workers[number].poll() is not None:
                self.start_worker(number)

    def start_worker(self, number: int) -> None:
        """Start or restart a worker."""
        words = ["worker", self.address, "--nthreads", "2", "--no-nanny", "--no-dashboard", "--memory-limit", "0",
                 "--death-timeout", "120", "--local-directory", str(self.folder)]  # fmt: skip
        self.workers[number] = self._spawn(f"worker-{number}", words, self.wrap[number + 1] if self.wrap else ())

    def signal_worker(self, number: int, signal_: int) -> None:
        """Send a signal to a worker and its descendants."""
        for process in family(self.workers[number].pid):
            process.send_signal(signal_)

    def stop(self) -> None:
        """Kill all processes."""
        for process in [*self.workers.values(), *([self.scheduler] if self.scheduler else [])]:
            for member in family(process.pid):
                member.send_signal(signal.SIGCONT)
                member.kill()
            process.wait()

    def _await_scheduler(self) -> None:
        """Wait until the scheduler accepts connections."""
        deadline = time.monotonic() + 120
        while self.scheduler.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
                return
            time.sleep(0.1)

    def _spawn(self, name: str, words: list[str], wrap: tuple[str, ...]) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*wrap, PYTHON, "-m", "dask", *words],
                stdout=log, stderr=log, env={**os.environ, **self.environment}, start_new_session=True,
            )  # fmt: skip


def family(pid: int) -> list[psutil.Process]:
    """A process and its living descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def usage(pid: int) -> tuple[float, float]:
    """Resident megabytes and CPU seconds of a process and its descendants."""
    mega, seconds = 0.0, 0.0
    for process in family(pid):
        try:
            mega += process.memory_info().rss / 2**20
            times = process.cpu_times()
            seconds += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return mega, seconds


def machine() -> str:
    """Machine, date and load average."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "unknown CPU")  # fmt: skip
    return f"{os.cpu_count()} cores ({cpu}), {time.strftime('%Y-%m-%d')}, load average {os.getloadavg()[0]:.1f}"
