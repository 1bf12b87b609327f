"""Tests of cascade.pipeline.isolated."""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fakes import BRIGHT, CLEAN, DEADLY, OVERLAP, SEASON, FakeLoader, FakeReader, FakeScreener, FakeSegmenter, new_run

from cascade.camera import Camera
from cascade.core.errors import ModelError, OutageError
from cascade.pipeline import isolated as isolated
from cascade.pipeline.batch import process_batch, run_serial
from cascade.pipeline.isolated import process_isolated, process_suspects
from cascade.runs.begun import begun
from cascade.runs.config import Batch
from cascade.runs.run import open_run
from cascade.runs.tables import SCHEMAS

pytestmark = pytest.mark.slow

CAMERA = Camera.decam()


def processed(*kinds):
    reader = FakeReader(tuple(enumerate(kinds, start=100)))
    return process_isolated(reader, Batch(2, 50, 50 + len(kinds)), FakeLoader(), CAMERA, 0.7)


def test_batch_that_kills_nothing_is_the_same_apart():
    batch = Batch(0, 0, len(SEASON))
    result = process_isolated(FakeReader(), batch, FakeLoader(), CAMERA, 0.7)
    expected = process_batch(FakeReader(), batch, FakeScreener(), FakeSegmenter(), CAMERA, 0.7)
    for name in SCHEMAS:
        assert result.tables[name].equals(expected.tables[name])
    np.testing.assert_array_equal(result.masks, expected.masks)


def test_exposure_that_kills_is_found_and_the_others_are_processed():
    result = processed(BRIGHT, CLEAN, DEADLY, OVERLAP, CLEAN)
    assert result.tables["exposures"]["exposure"].to_pylist() == [50, 51, 52, 53, 54]
    assert result.tables["exposures"]["status"].to_pylist() == ["ghosted", "clean", "failed", "ghosted", "clean"]
    (failure,) = result.tables["failures"].to_pylist()
    assert (failure["exposure"], failure["stage"]) == (52, "worker")
    assert failure["error"] == ("night/102--4.jpg: the process that worked on it alone was killed by SIGKILL, 2 times")
    assert result.masks.shape == (5, 400, 400)
    assert np.flatnonzero(result.masks.any(axis=(1, 2))).tolist() == [0, 3]
    assert (result.counts.n_exposures, result.counts.n_failed, result.counts.n_ghosted) == (5, 1, 2)


def test_nothing_is_imported_from_the_current_folder(tmp_path, monkeypatch):
    for name in ("json", "cascade", "numpy"):
        (tmp_path / f"{name}.py").write_text("open('TRACE', 'w').close()\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    assert processed(BRIGHT).tables["exposures"]["status"].to_pylist() == ["ghosted"]
    assert not (tmp_path / "TRACE").exists()


DEADLY_RUN = """
import sys
sys.path.insert(0, {tests!r})
from fakes import *
from cascade.camera import Camera
from cascade.pipeline.batch import run_serial
reader = FakeReader({items!r})
run_serial(reader, new_run({path!r}, reader, batch_size=2), FakeScreener(), FakeSegmenter(), Camera.decam())
"""


def test_serial_run_that_an_exposure_killed_meets_it_once_more(tmp_path):
    kinds = (CLEAN, BRIGHT, CLEAN, CLEAN, BRIGHT, DEADLY, CLEAN, OVERLAP)
    reader = FakeReader(tuple(enumerate(kinds, start=100)))
    path = tmp_path / "run"
    script = DEADLY_RUN.format(tests=str(Path(__file__).parents[1]), items=reader.items, path=str(path))
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    run = open_run(path)
    suspects = begun(run.storage)
    assert 2 in suspects
    assert len(suspects) <= 2
    done, events = [], []
    process_suspects(
        reader,
        run,
        FakeLoader(),
        CAMERA,
        on_batch=done.append,
        on_event=lambda name, batch: events.append((name, batch)),
    )
    assert events == [("suspect", index) for index in sorted(suspects & {batch.index for batch in run.batches()})]
    assert not begun(run.storage)
    run_serial(reader, run, FakeScreener(), FakeSegmenter(), CAMERA)
    statuses = run.table("exposures")["status"].to_pylist()
    assert statuses == ["clean", "ghosted", "clean", "clean", "ghosted", "failed", "clean", "ghosted"]
    assert run.table("failures")["stage"].to_pylist() == ["worker"]
    assert not (path / "begun").exists()


def test_serial_run_that_ends_by_an_error_leaves_no_suspects(tmp_path):
    def stop(_counts):
        raise KeyboardInterrupt

    run = new_run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run_serial(FakeReader(), run, FakeScreener(), FakeSegmenter(), CAMERA, on_batch=stop)
    assert not begun(run.storage)


def test_single_exposure_that_kills_fails():
    assert processed(DEADLY).tables["failures"]["stage"].to_pylist() == ["worker"]


def test_networks_that_kill_whatever_they_see_are_not_the_exposures_fault():
    with pytest.raises(
        ModelError, match=r"each of 2 exposures killed the process of the networks: was killed by SIGKILL"
    ):
        processed(DEADLY, DEADLY)


@dataclass(frozen=True)
class Dying:
    """Networks that do not survive loading."""

    def __call__(self):
        __import__("os")._exit(3)


@dataclass(frozen=True)
class Noisy:
    """Networks that print while they load."""

    def __call__(self):
        print("loading...", flush=True)  # noqa: T201
        return FakeLoader()()


@dataclass(frozen=True)
class Broken:
    """Networks that cannot be loaded."""

    def __call__(self):
        msg = "screen-v9: no such model"
        raise ModelError(msg)


def test_process_that_dies_while_loading_blames_no_exposure():
    with pytest.raises(OutageError, match="that was to load the networks ended with status 3"):
        process_isolated(FakeReader(), Batch(0, 0, 11), Dying(), CAMERA, 0.7)


def test_error_while_loading_is_raised():
    with pytest.raises(ModelError, match="screen-v9: no such model"):
        process_isolated(FakeReader(), Batch(0, 0, 11), Broken(), CAMERA, 0.7)


def test_what_networks_print_is_no_answer():
    assert process_isolated(FakeReader(), Batch(0, 0, 11), Noisy(), CAMERA, 0.7).counts.n_exposures == 11


def test_error_of_a_whole_batch_is_raised(monkeypatch):
    with pytest.raises(ModelError, match="failed on each of 2"):
        processed(21, 21)  # the screen falls over on both


def test_error_that_cannot_be_pickled_is_told_by_its_words():
    class LocalError(ValueError):
        pass

    assert str(isolated._portable(LocalError("odd"))) == "LocalError('odd')"
