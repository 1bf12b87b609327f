from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.core.errors import ConfigError, InputError, ModelError
from cascade.core.records import Range, parse_toml, read_record, shown


@dataclass(frozen=True, slots=True)
class Star:
    name: str
    place: tuple[float, float]
    magnitudes: tuple[float, ...] = ()
    variable: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    number: int
    kind: Literal["sky", "flat", 3]
    share: Annotated[float, Range(0, 1)]
    stars: tuple[Star, ...]
    exposure_s: Annotated[float, Range(0, 900, open_low=True)] | None
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    n_ccds: Annotated[int, Range(1, math.inf)] = 62

    def __post_init__(self) -> None:
        if len(self.stars) > 5:
            msg = f"stars: expected 5 at most, got {len(self.stars)}"
            raise ValueError(msg)
        if self.counts.get("stars", 0) < 0:
            msg = "counts: expected no debts"
            raise InputError(msg)


SOUND: dict[str, Any] = {
    "number": 7,
    "kind": "sky",
    "share": 1,
    "stars": [{"name": "Vega", "place": [279.2, 38.8]}, {"name": "Mira", "place": [34, -3], "variable": True}],
    "exposure_s": None,
    "counts": {"stars": 2},
    "notes": {"of": ["any", {"kind": None}]},
}

KEYS = "number, kind, share, stars, exposure_s, counts, notes, n_ccds"


def read(**changes: object) -> Field:
    values = {key: value for key, value in {**SOUND, **changes}.items() if value is not ...}
    return read_record(Field, values, where="night.toml", error=ConfigError)


def test_a_table_becomes_a_record():
    found = read()
    assert found == Field(
        7, "sky", 1.0, (Star("Vega", (279.2, 38.8)), Star("Mira", (34.0, -3.0), variable=True)), None,
        {"stars": 2}, {"of": ["any", {"kind": None}]},
    )  # fmt: skip
    assert [type(value) for value in (found.share, *found.stars[1].place)] == [float] * 3
    assert (found.n_ccds, read(exposure_s=90, counts=...).exposure_s) == (62, 90.0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"number": ...}, "key number: missing; expected an integer"),
        ({"stars": ...}, "key stars: missing; expected a list"),
        ({"exposure_s": ...}, "key exposure_s: missing; expected a number in (0, 900] or null"),
        ({"stars": [{"name": "Vega"}]}, "key stars[0].place: missing; expected a list of 2"),
        ({"colour": 1}, f"key colour: unknown; expected one of {KEYS}"),
        ({"stars": [SOUND["stars"][0], {**SOUND["stars"][0], "naem": "x"}]},
         "key stars[1].naem: unknown; expected one of name, place, magnitudes, variable"),
        ({"number": "7"}, "key number: expected an integer, got '7'"),
        ({"number": 7.0}, "key number: expected an integer, got 7.0"),
        ({"number": True}, "key number: expected an integer, got True"),
        ({"number": 2**63}, "key number: expected an integer, got an integer of 64 bits"),
        ({"number": 1 << 20_000}, "key number: expected an integer, got an integer of 20001 bits"),
        ({"kind": "dark"}, "key kind: expected one of sky, flat, 3, got 'dark'"),
        ({"kind": 3.0}, "key kind: expected one of sky, flat, 3, got 3.0"),
        ({"kind": ["sky"]}, "key kind: expected one of sky, flat, 3, got a list of 1"),
        ({"share": 1.5}, "key share: expected a number in [0, 1], got 1.5"),
        ({"share": math.nan}, "key share: expected a number in [0, 1], got nan"),
        ({"share": "all"}, "key share: expected a number in [0, 1], got 'all'"),
        ({"share": 10**400}, "key share: expected a number in [0, 1], got an integer of 1329 bits"),
        ({"exposure_s": 0}, "key exposure_s: expected a number in (0, 900], got 0"),
        ({"exposure_s": {}}, "key exposure_s: expected a number in (0, 900], got a table"),
        ({"n_ccds": 0}, "key n_ccds: expected an integer in [1, inf], got 0"),
        ({"n_ccds": None}, "key n_ccds: expected an integer in [1, inf], got None"),
        ({"counts": {"a.b": 1.5}}, "key counts.a.b: expected an integer, got 1.5"),
        ({"counts": [1]}, "key counts: expected a table, got a list of 1"),
        ({"stars": "Vega"}, "key stars: expected a list, got 'Vega'"),
        ({"stars": ["Vega"]}, "key stars[0]: expected a table, got 'Vega'"),
        ({"stars": [{"name": 3, "place": [0, 0]}]}, "key stars[0].name: expected a string, got 3"),
        ({"stars": [{"name": "x", "place": [1]}]}, "key stars[0].place: expected a list of 2, got a list of 1"),
        ({"stars": [{"name": "x", "place": [1, "y"]}]}, "key stars[0].place[1]: expected a number, got 'y'"),
        ({"stars": [{"name": "x", "place": [1, math.inf]}]}, "key stars[0].place[1]: expected a number, got inf"),
        ({"stars": [{"name": "x", "place": [10**400, 0]}]},
         "key stars[0].place[0]: expected a number, got an integer of 1329 bits"),
        ({"stars": [{"name": "x", "place": [0, 0], "variable": 1}]},
         "key stars[0].variable: expected true or false, got 1"),
        ({"stars": SOUND["stars"] * 3}, "stars: expected 5 at most, got 6"),
        ({"counts": {"stars": -1}}, "counts: expected no debts"),
        ({"number": "x\n" * 100}, "key number: expected an integer, got '" + r"x\n" * 30 + "…'"),
        ({"k" * 100 + "\n": 1}, f"key {'k' * 60}…: unknown; expected one of {KEYS}"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_on_one_line(changes, problem):
    with pytest.raises(ConfigError) as caught:
        read(**changes)
    assert str(caught.value) == f"night.toml: {problem}"


@pytest.mark.parametrize(("values", "got"), [(None, "None"), ([1], "a list of 1"), ("x", "'x'")])
def test_what_is_no_table_at_all_is_an_error_of_the_class_asked_for(values, got):
    with pytest.raises(ModelError, match=f"^run.json: config: expected a table, got {got}$"):
        read_record(Star, values, where="run.json: config", error=ModelError)


def test_line_breaks_do_not_get_into_the_message():
    with pytest.raises(ConfigError) as caught:
        read_record(Star, {"a\nb": 1}, where="two\nlines.toml", error=ConfigError)
    assert str(caught.value).splitlines() == [str(caught.value)]


def test_the_error_of_the_dataclass_itself_is_the_cause():
    with pytest.raises(ConfigError, match="expected no debts") as caught:
        read(counts={"stars": -1})
    assert isinstance(caught.value.__cause__, InputError)


@pytest.mark.parametrize(
    "data",
    [b"a =", b"\xff\xfe", b"a = " + b"[" * 100_000, b"a = 1" + b"0" * 5000],
    ids=["cut", "bytes", "deep", "long"],
)
def test_what_is_no_toml_is_an_error(data):
    with pytest.raises(ConfigError, match=r"^x\.toml: expected TOML: .+$"):
        parse_toml(data, where="x.toml", error=ConfigError)


def test_toml_is_parsed():
    assert parse_toml(b"a = [1, 2]", where="x.toml", error=ConfigError) == {"a": [1, 2]}


def test_values_are_shown_however_large_or_deep_they_are():
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert shown(deep) == "a table"
    assert shown([deep]) == "a list of 1"
    assert len(shown("x" * 10**6)) < 70
    assert (shown(1.5), shown(None), shown(-(2**62))) == ("1.5", "None", str(-(2**62)))


_numbers = st.floats(allow_nan=False, allow_infinity=False)
_ints = st.integers(-(2**63) + 1, 2**63 - 1)
_stars = st.builds(
    Star, st.text(), st.tuples(_numbers, _numbers), st.lists(_numbers, max_size=3).map(tuple), st.booleans()
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_fields = st.builds(
    Field, _ints, st.sampled_from(("sky", "flat", 3)), st.floats(0, 1), st.lists(_stars, max_size=5).map(tuple),
    st.none() | st.floats(0, 900, exclude_min=True), st.dictionaries(st.text(), st.integers(0, 2**63 - 1), max_size=3),
    st.dictionaries(st.text(), _json, max_size=3), st.integers(1, 2**63 - 1),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(_fields)
def test_a_record_survives_its_file(written):
    assert read_record(Field, asdict(written), where="x", error=ConfigError) == written
    assert read_record(Field, json.loads(json.dumps(asdict(written))), where="x", error=ConfigError) == written


def _paths(values: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a file."""
    below: list[tuple[Any, Any]] = (
        list(values.items())
        if isinstance(values, dict)
        else list(enumerate(values))
        if isinstance(values, list)
        else []
    )
    return [path, *(deeper for key, value in below for deeper in _paths(value, (*path, key)))]


def _changed(values: Any, path: tuple[Any, ...], new: object) -> Any:
    """A copy with another value at a place."""
    if not path:
        return new
    copy = dict(values) if isinstance(values, dict) else list(values)
    copy[path[0]] = _changed(values[path[0]], path[1:], new)
    return copy


_hostile = st.one_of(
    _json,
    st.sampled_from([math.nan, math.inf, -math.inf, 10**400, -(2**63), 1 << 20_000]),
    st.sampled_from(["\n\u2028\ud800", b"x", {3: 4}, object()]),
    st.integers(1, 2000).map(lambda depth: _nested(depth)),
)  # fmt: skip


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(_paths(SOUND)), _hostile)
def test_whatever_stands_at_a_key_there_is_a_record_or_one_line(path, new):
    try:
        read_record(Field, _changed(SOUND, path, new), where="night.toml", error=ConfigError)
    except ConfigError as error:
        message = str(error)
        assert message.startswith("night.toml: ")
        assert len(message.splitlines()) == 1
        assert len(message) < 1000
        message.encode()
