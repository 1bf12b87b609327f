"""Records: dataclasses read from the tables of TOML and JSON files; their type hints say what a file may hold."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cascade.core.errors import CascadeError, printable
from cascade.core.text import decode_text

T = TypeVar("T")
_Key = TypeVar("_Key", str, int)
_Hint = Any  # a type, or a form of `typing`
_Reader = Callable[[object], Any]

_INT_BITS = 63  # without the sign: int64, as in tables and arrays
_MAX_SHOWN = 60  # characters of a text or key in a message


@dataclass(frozen=True, slots=True)
class Range:
    """
    Interval that a number must lie in: ``Annotated[float, Range(0, 1)]``.

    Attributes
    ----------
    low, high
        Bounds, inclusive by default.
    open_low, open_high
        Whether `low` or `high` is exclusive.
    """

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, number: float) -> bool:
        inside = self.low <= number <= self.high
        return inside and not (self.open_low and number == self.low) and not (self.open_high and number == self.high)

    def __str__(self) -> str:
        return f"{'(' if self.open_low else '['}{self.low}, {self.high}{')' if self.open_high else ']'}"


def read_record(kind: type[T], values: object, *, where: str, error: type[CascadeError]) -> T:
    """
    Build a dataclass from the parsed content of a TOML or JSON file.

    The type hints of the fields define what is accepted: ``str``, ``bool``, ``int`` of 64 bits, finite ``float``
    (integers are converted), either of them within a `Range`, ``Literal``, ``X | None``, tuples, ``Mapping[str, X]``,
    further dataclasses, and ``Any``, which is passed through unchanged. A field with a default may be missing.

    Parameters
    ----------
    kind : type
        The dataclass.
    values : object
        A parsed table; lists stand for tuples.
    where : str
        Prefix of the message: the path of the file.
    error : type of CascadeError
        Type of the error.

    Raises
    ------
    CascadeError
        `error`, of one line with the path of the key, if a key is missing, unknown or of another type, or if the
        dataclass itself rejects the values with a ValueError or CascadeError.
    """
    try:
        record: T = _reader(kind)(values)  # type: ignore[arg-type]  # mypy takes no type for hashable
    except _MisfitError as misfit:
        place = f"{where}: key {misfit.key}" if misfit.path else where
        raise error(printable(f"{place}: {misfit.problem}")) from misfit.__cause__
    return record


def parse_toml(data: bytes, *, where: str, error: type[CascadeError]) -> dict[str, Any]:
    """Parse TOML, or raise `error` about the file called `where`."""
    try:
        return tomllib.loads(decode_text(data))
    except (ValueError, RecursionError) as problem:  # the latter: too deeply nested
        msg = printable(f"{where}: expected TOML: {problem}")
        raise error(msg) from problem


def shown(value: object) -> str:
    """A value from a file, shortened to fit into a message."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > _INT_BITS:
        return f"an integer of {value.bit_length()} bits"
    return repr(_cut(value)) if isinstance(value, str) else _cut(repr(value))


def _cut(text: str) -> str:
    """The text, truncated to `_MAX_SHOWN` characters."""
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


class _MisfitError(Exception):
    """A value that does not fit its field; the path of its key is collected as the error propagates."""

    def __init__(self, problem: str, *path: str | int) -> None:
        super().__init__(problem)
        self.problem, self.path = problem, list(path)

    @property
    def key(self) -> str:
        """The path, as ``a.b[2]``."""
        parts = (f"[{part}]" if isinstance(part, int) else f".{_cut(part)}" for part in self.path)
        return "".join(parts).removeprefix(".")


@cache
def _reader(hint: _Hint) -> _Reader:
    """The function that converts a parsed value to the type of a hint; cached."""
    if hint is Any:
        return lambda value: value
    return _record_reader(hint) if is_dataclass(hint) else _MAKERS[_form(hint)](hint)


def _record_reader(kind: _Hint) -> _Reader:
    """Reader of a dataclass."""
    every = get_type_hints(kind, include_extras=True)
    hints = {f.name: every[f.name] for f in fields(kind)}
    required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    readers = {name: _reader(hint) for name, hint in hints.items()}

    def read(values: object) -> Any:  # noqa: ANN401
        if not isinstance(values, Mapping):
            raise _misfit(kind, values)
        for name in values:
            if name not in readers:
                msg = f"unknown; expected one of {', '.join(readers)}"
                raise _MisfitError(msg, str(name))
        for name in required:
            if name not in values:
                msg = f"missing; expected {_wanted(hints[name])}"
                raise _MisfitError(msg, name)
        found = _each(values.items(), readers.__getitem__)
        try:
            return kind(**found)
        except (ValueError, CascadeError) as error:
            raise _MisfitError(str(error)) from error

    return read


def _mapping_reader(hint: _Hint) -> _Reader:
    """Reader of a table with arbitrary keys."""
    reader = _reader(get_args(hint)[1])

    def read(values: object) -> dict[str, Any]:
        if not isinstance(values, Mapping):
            raise _misfit(hint, values)
        return _each(((str(name), value) for name, value in values.items()), lambda _name: reader)

    return read


def _tuple_reader(hint: _Hint) -> _Reader:
    """Reader of a list: of one type and any length, or of one type per position."""
    kinds = get_args(hint)
    readers = [_reader(kind) for kind in kinds if kind is not ...]
    any_length = kinds[-1] is ...

    def read(values: object) -> tuple[Any, ...]:
        if not isinstance(values, list | tuple) or not (any_length or len(values) == len(readers)):
            raise _misfit(hint, values)
        return tuple(_each(enumerate(values), lambda n: readers[0 if any_length else n]).values())

    return read


def _each(values: Iterable[tuple[_Key, object]], reader_of: Callable[[_Key], _Reader]) -> dict[_Key, Any]:
    """Read the values of a table or list; errors gain the key."""
    found: dict[_Key, Any] = {}
    for key, value in values:
        try:
            found[key] = reader_of(key)(value)
        except _MisfitError as misfit:
            misfit.path.insert(0, key)
            raise
    return found


def _exact_reader(hint: _Hint) -> _Reader:
    """Reader of a value of exactly this type."""

    def read(value: object) -> object:
        if not isinstance(value, hint):
            raise _misfit(hint, value)
        return value

    return read


def _number_reader(hint: _Hint) -> _Reader:
    """Reader of a 64-bit integer or a finite number, optionally within a range."""
    kind, limits = get_args(hint) if _form(hint) is Annotated else (hint, None)
    number_of = {int: _int, float: _float}[kind]

    def read(value: object) -> float:
        number = None if isinstance(value, bool) else number_of(value)
        if number is None or not (limits is None or number in limits):
            raise _misfit(hint, value)
        return number

    return read


def _int(value: object) -> int | None:
    """The integer, or None."""
    return value if isinstance(value, int) and value.bit_length() <= _INT_BITS else None


def _float(value: object) -> float | None:
    """The number, or None."""
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:  # an integer beyond all floats
        return None


def _choice_reader(hint: _Hint) -> _Reader:
    """Reader of one of a few values."""

    def read(value: object) -> object:
        if not any(type(value) is type(one) and value == one for one in get_args(hint)):
            raise _misfit(hint, value)
        return value

    return read


def _optional_reader(hint: _Hint) -> _Reader:
    """Reader of an optional value."""
    reader = _reader(_present(hint))
    return lambda value: None if value is None else reader(value)


_MAKERS: Mapping[object, Callable[[_Hint], _Reader]] = {
    str: _exact_reader,
    bool: _exact_reader,
    int: _number_reader,
    float: _number_reader,
    Annotated: _number_reader,
    Literal: _choice_reader,
    Union: _optional_reader,
    UnionType: _optional_reader,
    tuple: _tuple_reader,
    Mapping: _mapping_reader,
}
_WORDS = {str: "a string", bool: "true or false", int: "an integer", float: "a number", tuple: "a list"}


def _form(hint: _Hint) -> _Hint:
    """A hint without its parameters."""
    origin: _Hint = get_origin(hint)
    return hint if origin is None else origin


def _present(hint: _Hint) -> _Hint:
    """``X`` of ``X | None``."""
    (kind,) = (one for one in get_args(hint) if one is not NoneType)
    return kind


def _wanted(hint: _Hint) -> str:
    """A type, described for error messages."""
    form, kinds = _form(hint), get_args(hint)
    if form is Annotated:
        return f"{_wanted(kinds[0])} in {kinds[1]}"
    if form is Literal:
        return f"one of {', '.join(map(str, kinds))}"
    if form in (Union, UnionType):
        return f"{_wanted(_present(hint))} or null"
    if form is tuple and kinds[-1] is not ...:
        return f"a list of {len(kinds)}"
    return _WORDS.get(form, "a table")


def _misfit(hint: _Hint, value: object) -> _MisfitError:
    """The error about a value of another type."""
    return _MisfitError(f"expected {_wanted(hint)}, got {shown(value)}")
