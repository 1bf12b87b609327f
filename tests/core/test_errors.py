from __future__ import annotations

import pickle

import pytest

from cascade.core.errors import CascadeError, InputError, OutageError


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: thrift failed\n; run it", "a: thrift failed ; run it"),
        ("a: one\r\n  two\n", "a: one two"),
        ("a: \x1b[2Jb\x00", r"a: \x1b[2Jb\x00"),
        ("µ: expected 1″", "µ: expected 1″"),
    ],
)
def test_message_is_one_line_whatever_it_quotes(text, line):
    for kind in (CascadeError, InputError, OutageError):
        assert str(kind(text)) == line


def test_message_that_quotes_a_long_name_is_cut_in_its_middle():
    text = str(InputError(f"a: expected b, got {'c' * 10**6}; try d"))
    assert len(text) < 1600
    assert text.startswith("a: expected b, got ccc")
    assert text.endswith("ccc; try d")


def test_error_comes_back_from_another_process_as_it_was():
    error = pickle.loads(pickle.dumps(InputError("a: b\nc")))
    assert isinstance(error, InputError)
    assert str(error) == "a: b c"
