"""The table of artifact classes with lines that are added to it, as somebody would who needs one more class."""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType

NAME = "cascade.core.artifact"
TRAIL = 'TRAIL = "#009E73", "9 3 2 3", "4", "a satellite trail or another streak across the field"'


def table_with(*lines: str) -> ModuleType:
    """The module of the table, made anew with more classes at its end."""
    spec = find_spec(NAME)
    assert spec is not None
    assert spec.loader is not None
    source = spec.loader.get_source(NAME)  # type: ignore[attr-defined]
    end = source.rindex('"\n', 0, source.index("def __new__")) + 1
    added = "".join(f"\n    {line}" for line in lines)
    module = module_from_spec(spec)
    exec(compile(source[:end] + added + source[end:], spec.origin or NAME, "exec"), module.__dict__)
    return module


def add_trail() -> None:
    """Make a fourth class known to everything that is imported from now on."""
    assert not [name for name in sys.modules if name.startswith("cascade.") and name not in ("cascade.core", NAME)]
    sys.modules[NAME] = table_with(TRAIL)
