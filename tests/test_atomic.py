"""Tests of cascade.atomic."""

import pytest

from cascade.atomic import read_json, write_json, written_aside
from cascade.errors import StoreError


def test_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(StoreError, match=r"f\.txt: expected a folder to write into, got none called .*none"),
        written_aside(tmp_path / "none" / "f.txt"),
    ):
        pass


def test_file_is_replaced_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"a": object()})
    with pytest.raises(FileNotFoundError), written_aside(path):
        pass  # nothing was written
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{half", "expected JSON, got .*; the file is damaged"), ("[]", "expected a JSON object, got list")],
)
def test_damaged_json_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(StoreError, match=f"a.json: {message}"):
        read_json(tmp_path / "a.json")
