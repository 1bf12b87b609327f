"""Tests of cascade.runs.config."""

from dataclasses import asdict

import pytest
from fakes import config

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
