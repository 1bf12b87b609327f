"""Tests of cascade.runs.config."""

from dataclasses import asdict

import pytest
from fakes import config
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.core.errors import ConfigError, StoreError
from cascade.core.records import read_record
from cascade.runs.config import Batch, RunConfig, batches


def test_batches_cover_every_exposure_once():
    assert batches(7, 3) == [Batch(0, 0, 3), Batch(1, 3, 6), Batch(2, 6, 7)]
    assert batches(0, 3) == []
    assert [len(batch) for batch in batches(6, 3)] == [3, 3]


def test_run_of_before_other_cameras_is_one_of_decam():
    values = asdict(config())
    del values["camera"], values["additions"]
    assert read_record(RunConfig, values, where="run.json", error=StoreError) == config()


def test_additions_begin_batches_of_their_own():
    cut = batches(10, 3, (2, 4))
    assert cut == [Batch(0, 0, 3), Batch(1, 3, 4), Batch(2, 6, 8, 2), Batch(3, 9, 12, 3), Batch(4, 12, 13, 3)]
    assert [number for batch in cut for number in range(batch.first_input, batch.first_input + len(batch))] == list(
        range(10)
    )
    assert cut[:2] == batches(4, 3)


sizes = st.integers(1, 7)
growths = st.lists(st.integers(1, 20), max_size=4).map(tuple)


@settings(max_examples=200, deadline=None)
@given(sizes, st.integers(1, 20), growths)
def test_batches_hold_every_input_once_in_shards_of_their_own(size, n_first, additions):
    n = n_first + sum(additions)
    cut = batches(n, size, additions)
    assert [k for batch in cut for k in range(batch.first_input, batch.first_input + len(batch))] == list(range(n))
    assert [batch.index for batch in cut] == list(range(len(cut)))
    for batch in cut:
        assert batch.index * size == batch.start < batch.stop <= (batch.index + 1) * size


@settings(max_examples=200, deadline=None)
@given(sizes, st.integers(1, 20), growths, st.integers(1, 20))
def test_an_addition_leaves_all_earlier_batches_as_they_were(size, n_first, additions, n_more):
    n = n_first + sum(additions)
    before, after = batches(n, size, additions), batches(n + n_more, size, (*additions, n_more))
    assert after[: len(before)] == before
    assert after[len(before)].first_input == n


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_exposures": 0}, "n_exposures: expected at least 1, got 0"),
        ({"additions": (0,)}, r"additions: expected at least 1 exposure at first and in each, got \(11, 0\)"),
        ({"additions": (11,)}, r"additions: .* got \(0, 11\)"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"threshold": 1.5}, r"threshold: expected a number in \[0, 1\], got 1.5"),
        ({"threshold": float("nan")}, "threshold: .* got nan"),
        ({"threshold": None}, "threshold: expected one with a screen"),
        ({"screen": None}, "threshold: expected one with a screen and none without"),
    ],
)
def test_configuration_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)
