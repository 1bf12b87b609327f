"""Tests of cascade.inputs.time_limit."""

import gzip
import pickle
import time

import numpy as np
import pytest
from fits_files import night
from reader_files import preview

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError
from cascade.inputs import open_inputs
from cascade.inputs.fits.structure import plain_file
from cascade.inputs.time_limit import Limited, check_time, limited, seconds_left, time_limit
from cascade.pipeline.batch import read_batch
from cascade.runs.config import Batch


def work(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_work_counts_and_waiting_does_not():
    with time_limit(0.05):
        time.sleep(0.1)
        check_time("x")
        work(0.06)
        with pytest.raises(InputError, match=r"^x: expected to read it in 0\.05 s of CPU, got no end of it$"):
            check_time("x")
    check_time("x")


def test_work_of_other_processes_counts():
    with time_limit(5):
        check_time("x", 2)
        assert 2.9 < seconds_left() < 3
        with pytest.raises(InputError, match="in 5 s of CPU"):
            check_time("x", 3.1)


def slow_inputs(folder, monkeypatch):
    """Three inputs, of which each is read in pieces."""
    (exposure,) = night(folder, compress=True)
    packed = folder / "packed.fits.gz"
    packed.write_bytes(gzip.compress(exposure.read_bytes()))
    stack = folder / "stack.npy"
    np.save(stack, np.asfortranarray(np.stack([preview(k) for k in range(4)])))
    monkeypatch.setattr("cascade.inputs.npy._PIECE_BYTES", 10_000)
    return [exposure, packed, stack]


def test_every_kind_of_slow_input_fails_alone(tmp_path, monkeypatch):
    for path in slow_inputs(tmp_path, monkeypatch):
        reader = open_inputs(path)
        assert limited(reader, 100).read(0).image.shape == (400, 400)
        outcomes = read_batch(limited(reader, 1e-4), Batch(0, 0, len(reader)), Camera.decam()).outcomes
        for outcome in outcomes:
            assert outcome.failure[0] == "read"
            assert f"{path}" in outcome.failure[1]
            assert "0.0001 s of CPU, got no end of it" in outcome.failure[1]


def test_limit_stops_the_unpacking_of_a_gzip(tmp_path):
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(bytes(2**26), 1))
    with time_limit(0.001), pytest.raises(InputError, match=r"in 0\.001 s"), plain_file(path, "x"):
        pass


def test_limited_reader_is_a_reader(tmp_path):
    stack = tmp_path / "stack.npy"
    np.save(stack, np.stack([preview(k) for k in range(4)]))
    reader = limited(open_inputs(stack), 50)
    part = pickle.loads(pickle.dumps(reader.part(1, 3)))
    assert isinstance(part, Limited)
    assert (len(reader), len(part), part.seconds) == (4, 2, 50)
    assert part.source(0).path == f"{stack}[1]"
    np.testing.assert_array_equal(part.read(1).image, preview(2))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_limit_that_is_no_time_is_refused(seconds):
    with pytest.raises(ConfigError, match="read limit: expected a positive number of seconds, got"):
        limited(open_inputs, seconds)
