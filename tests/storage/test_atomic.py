"""Tests of cascade.storage.atomic."""

import pytest

from cascade.core.errors import StoreError
from cascade.storage.atomic import json_bytes, parse_json, written_aside


def test_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(StoreError, match=r"f\.txt: expected a folder to write into, got none called .*none"),
        written_aside(tmp_path / "none" / "f.txt"),
    ):
        pass


def test_file_is_replaced_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(TypeError), written_aside(path) as aside:
        aside.write_text(b"no text")
    with pytest.raises(FileNotFoundError), written_aside(path):
        pass  # nothing was written
    assert path.read_text() == "old"
    with written_aside(path) as aside:
        aside.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{half", "expected JSON, got .*; the file is damaged"),
        (b"[" * 100_000, "expected JSON, got .*; the file is damaged"),
        (b"[]", "expected a JSON object, got list"),
    ],
)
def test_damaged_json_is_named(content, message):
    with pytest.raises(StoreError, match=f"a.json: {message}"):
        parse_json(content, "a.json")
    assert parse_json(json_bytes({"a": 1}), "a.json") == {"a": 1}
