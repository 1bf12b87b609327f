"""The formats that are read as records: whatever stands at a key, the file is read or refused on one line."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
import tomli_w
from fakes import config

from cascade.camera import Camera
from cascade.core.errors import CascadeError, StoreError
from cascade.core.records import read_record
from cascade.networks.model_info import read_model
from cascade.runs.config import RunConfig
from cascade.runs.files import parse_entry
from cascade.runs.tables import BatchCounts
from cascade.training.config import read_config

ROOT = Path(__file__).parents[2]
HOSTILE = (
    "x", "a\nb" * 1000, 0, -1, 7, 2**62, 10**400, 1e308, -1e308, 1e-308, math.nan, math.inf, True, [], [1], ["x"],
    [[[]]], {}, {"x": 1}, {"a": {"b": {}}},
)  # fmt: skip
ENTRY = {
    "counts": asdict(BatchCounts(3, 1, 1, 0, 2, {"read": 1.0})),
    "files": {"ccds/part-00000.parquet": "00"},
}


def as_toml(name, read):
    """A reader of TOML files as one of parsed values."""

    def read_values(values, folder):
        (folder / name).write_text(tomli_w.dumps(values))
        read(folder / name)

    return read_values


def layout():
    """DECam's layout with three CCDs."""
    values = tomllib.loads((ROOT / "cascade" / "camera" / "decam.toml").read_text())
    return {**values, "ccds": values["ccds"][:3], "dead": [{"ccdnum": 1, "half": "upper", "first_expnum": 3}]}


def read_run_config(values, _folder):
    read_record(RunConfig, json.loads(json.dumps(values)), where="run.json", error=StoreError)


def toml(path):
    return tomllib.loads((ROOT / path).read_text())


FORMATS = {
    "model": (toml("models/segment-lite-v1/model.toml"), as_toml("model.toml", lambda path: read_model(path.parent))),
    "training": (toml("models/screen-v1/train.toml"), as_toml("train.toml", read_config)),
    "camera": (layout(), as_toml("mine.toml", lambda path: Camera.load(str(path)))),
    "run": (asdict(config(additions=(2, 3))), read_run_config),
    "ledger": (ENTRY, lambda values, _folder: parse_entry(json.dumps(values).encode(), "batch-00000.json")),
}


def changes(values):
    """Copies of a file with something else at each key, without it, or with one more."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values[:2]):
        others = [*HOSTILE, *(changes(value) if isinstance(value, dict | list) else ())]
        if isinstance(values, list):
            yield from ([*values[:key], other, *values[key + 1 :]] for other in others)
        else:
            yield from ({**values, key: other} for other in others)
            yield {name: one for name, one in values.items() if name != key}
            yield {**values, "unknown": value}


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_that_is_as_it_should_be_is_read(format_, tmp_path):
    values, read = FORMATS[format_]
    read(values, tmp_path)


@pytest.mark.parametrize("format_", FORMATS)
def test_whatever_stands_at_a_key_the_file_is_read_or_refused_on_one_line(format_, tmp_path):
    values, read = FORMATS[format_]
    messages = []
    for n, changed in enumerate(changes(values)):
        folder = tmp_path / f"{n}"  # cameras are remembered by their path
        folder.mkdir()
        try:
            read(changed, folder)
        except CascadeError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert [message for message in messages if len(message.splitlines()) > 1 or len(message) > 1000] == []
