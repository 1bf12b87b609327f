"""Tests of cascade.core.text."""

import json

import pytest

from cascade.core.errors import ConfigError, InputError
from cascade.core.records import parse_toml
from cascade.core.text import BYTE_ORDER_MARK, decode_text
from cascade.core.via import read_annotations

TEXT = "l\u00edneas 1 \n 2\n"


def test_mark_is_taken_off_unless_it_is_wanted():
    marked = (BYTE_ORDER_MARK + TEXT).encode()
    assert decode_text(marked) == decode_text(TEXT.encode()) == TEXT
    assert decode_text(marked, keep_mark=True) == BYTE_ORDER_MARK + TEXT


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (TEXT.encode("utf-16"), "UTF-16"),
        (TEXT.encode("latin-1"), "byte 0xed in line 1"),
        (b"a\nb\n\xe9", "byte 0xe9 in line 3"),
    ],
)
def test_other_encodings_are_named(data, got):
    with pytest.raises(ValueError, match=f"^expected text in UTF-8, got {got}$"):
        decode_text(data)


def test_files_of_windows_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps({"k": {"filename": "a.jpg", "size": 1, "regions": []}}).encode("utf-8-sig"))
    assert list(read_annotations(path).images) == ["a.jpg"]
    assert parse_toml("a = 1\r\n".encode("utf-8-sig"), where="x", error=ConfigError) == {"a": 1}
    path.write_bytes("[]".encode("utf-16"))
    with pytest.raises(InputError, match=r"a\.json: expected VIA JSON: expected text in UTF-8, got UTF-16"):
        read_annotations(path)
