from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade.runs.lease import find_holder
from cascade.runs.run import open_run

COMMAND = [sys.executable, "-m", "cascade"]


def images(folder: Path, n: int) -> Path:
    folder.mkdir()
    for number in range(700001, 700001 + n):
        Image.fromarray(np.full((400, 400), 50, np.uint8)).save(folder / f"D{number:08d}.png")
    return folder


def slow_input(path: Path) -> Path:
    """A gzip of 1.6 GB, which takes seconds to unpack."""
    with gzip.open(path, "wb", 1) as packed:
        packed.write(b"SIMPLE  =                    T".ljust(80))
        for _ in range(100):
            packed.write(bytes(1 << 24))
    return path


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_ends_a_run_as_ctrl_c_does(tmp_path, number, code):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    inputs = slow_input(tmp_path / "b.fits.gz")
    command = [*COMMAND, "run", str(inputs), "--out", str(tmp_path / "RUN"), "--stub", "-q"]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while not any(scratch.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    expected = f"error: ended by {signal.Signals(number).name}; `cascade run` and `cascade train` resume where they"
    assert errors.startswith(expected)
    assert "Traceback" not in errors
    assert not list(scratch.iterdir())
    assert find_holder(open_run(tmp_path / "RUN").storage) is None
    assert not [path for path in (tmp_path / "RUN").rglob("*") if path.name.endswith(".aside")]


def test_signal_that_is_ignored_stays_ignored():
    script = (
        "import signal, os; from cascade.cli.signals import end_on_signals; signal.signal(signal.SIGHUP, "
        "signal.SIG_IGN); end_on_signals(); os.kill(os.getpid(), signal.SIGHUP); print('went on')"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"went on\n"


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "0<&- 2>&-", "2> >(head -c 1 >/dev/null)"])
def test_standard_error_that_cannot_be_written_stops_nothing(tmp_path, redirection):
    inputs = images(tmp_path / "in", 9)
    words = " ".join([*COMMAND, "run", str(inputs), "--out", str(tmp_path / "RUN"), "--stub", "--batch", "1"])
    done = subprocess.run(["bash", "-c", f"{words} {redirection}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "9 exposures" in done.stdout
    assert open_run(tmp_path / "RUN").summary().status == "complete"
