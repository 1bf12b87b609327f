"""Tests of cascade.inputs.listing."""

import pyarrow as pa
import pytest
from fakes import BRIGHT, CLEAN, FakeReader

from cascade.core.errors import StoreError
from cascade.inputs import listing
from cascade.inputs.listing import LISTING, fingerprint, list_inputs, order_as


def listed(*rows):
    return pa.table([[path for path, _ in rows], [expnum for _, expnum in rows]], schema=LISTING)


def test_inputs_are_listed_in_order(monkeypatch):
    monkeypatch.setattr(listing, "_ROWS_AT_A_TIME", 4)
    table = list_inputs(FakeReader())
    assert table.schema == LISTING
    assert table["expnum"].to_pylist() == [101, 102, 103, 104, None, 106, 107, 108, 102, 110, 111]
    assert table["path"][1].as_py() == "night/102-7.jpg"


def test_fingerprint_depends_on_paths_numbers_and_order_alone(monkeypatch):
    def of(*items):
        return fingerprint(list_inputs(FakeReader(items)))

    first = of((1, CLEAN), (2, BRIGHT))
    others = {
        of((2, BRIGHT), (1, CLEAN)), of((1, CLEAN)), of((1, CLEAN), (None, BRIGHT)), of((1, CLEAN), (2, CLEAN))
    }  # fmt: skip
    assert len(others | {first}) == 5
    assert len(first) == 64
    monkeypatch.setattr(listing, "_ROWS_AT_A_TIME", 1)
    assert of((1, CLEAN), (2, BRIGHT)) == first


def test_known_inputs_keep_their_places_and_new_ones_follow():
    known = listed(("b", 2), ("d", None))
    now = listed(("a", 1), ("b", 2), ("c", None), ("d", None))
    assert order_as(known, now, "RUN").tolist() == [1, 3, 0, 2]


def test_input_that_is_listed_twice_counts_twice():
    known = listed(("a", 1), ("b", 2), ("a", 1))
    now = listed(("a", 1), ("a", 1), ("b", 2), ("a", 1), ("a", 2))
    assert order_as(known, now, "RUN").tolist() == [0, 2, 1, 3, 4]


def test_input_that_is_gone_is_named():
    known = listed(("a", 1), ("b", 2), ("c", 3))
    with pytest.raises(StoreError, match=r"RUN: holds a run of other inputs: expected 'b' and 1 more among them"):
        order_as(known, listed(("a", 1), ("b", 3)), "RUN")
