from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


@pytest.mark.slow
def test_damaged_files_of_every_kind_give_an_error_of_ours_or_a_right_answer():
    pytest.importorskip("astropy")
    words = [sys.executable, "-P", str(FUZZ), "--n", "5", "--seed", "7"]
    path = os.pathsep.join([str(FUZZ.parent), str(FUZZ.parents[1])])
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("refused") > 10


def hangs():
    time.sleep(60)
    return "right", ""


def crashes():
    os.kill(os.getpid(), signal.SIGSEGV)
    return "right", ""


def takes_memory():
    held = bytearray(600 << 20)
    return "right", str(len(held))


def takes_all_memory():
    return "right", str(len(bytearray(4 << 30)))


def fails():
    return {}["nothing"]


def test_children_tell_what_went_wrong_and_go_on(monkeypatch):
    fuzz_children = pytest.importorskip("fuzz_children")
    monkeypatch.setattr(fuzz_children, "LIMIT_S", 5.0)
    monkeypatch.setattr(fuzz_children, "PEAK_MB", 300)
    cases = [lambda: ("right", "a"), crashes, fails, hangs, takes_memory, takes_all_memory, lambda: ("refused", "b")]
    found = {number: outcome for number, outcome, _ in fuzz_children.tried(cases)}
    assert found == {
        0: "right",
        1: "crash: the process ended with -11",
        2: "exception KeyError at test_fuzz.py:fails",
        3: "hangs longer than 5 s",
        4: "memory",
        5: "exception MemoryError at test_fuzz.py:takes_all_memory",
        6: "refused",
    }


def test_mutations_are_fixed_by_their_seed_and_change_most_files():
    from fuzz_mutations import MUTATIONS, mutated

    data = bytes(range(256)) * 4 + b"length 17, words and 3.5\nof two lines\n"
    for k in range(200):
        assert mutated(data, random.Random(k)) == mutated(data, random.Random(k))
    for mutation in MUTATIONS:
        assert sum(mutation(data, random.Random(k)) != data for k in range(50)) > 35
        for short in (b"", b"a"):
            mutation(short, random.Random(1))
