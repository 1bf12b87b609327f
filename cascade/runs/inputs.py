"""Where the inputs of a run are now: where the run found them, or where they were moved since."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import iglob
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cascade.core.errors import InputError, printable
from cascade.inputs.images import fixed_part
from cascade.inputs.registry import is_pattern, normal_name
from cascade.runs.files import read_run_json
from cascade.storage import is_url

if TYPE_CHECKING:
    from cascade.runs.run import Run

_ENDS = ("", "/", "[", "!")  # what follows the name of an input in the path of an exposure


def input_details(names: Sequence[str]) -> dict[str, Any]:
    """What ``run.json`` says of inputs: absolute names, and the folder from which their paths in the tables go."""
    absolute = [_absolute(name) for name in names]
    try:
        return {"inputs": absolute, "folder": str(Path.cwd())}
    except FileNotFoundError:  # it was deleted, and no name needs it
        return {"inputs": absolute}


def _absolute(name: str) -> str:
    """A name that does not depend on the working folder; InputError if it does, and that folder was deleted."""
    if is_url(name):
        return name
    name = normal_name(name)
    try:
        return name if Path(name).is_absolute() else str(Path.cwd() / name)
    except FileNotFoundError as error:
        msg = f"{printable(name)}: expected a working folder that exists, got one that was deleted"
        raise InputError(msg) from error


@dataclass(frozen=True, slots=True)
class InputPlaces:
    """
    Where the inputs of a run are.

    Attributes
    ----------
    names
        What to open; empty if the run does not say.
    folder
        The working folder of the run; None of a run of an older version: that of today.
    moved
        Files and folders of then and of now; the longest first.
    """

    names: tuple[str, ...]
    folder: str | None
    moved: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, run: Run, inputs: Sequence[str | os.PathLike[str]] = ()) -> Self:
        """
        Find the inputs of a run.

        Parameters
        ----------
        run : Run
        inputs : sequence of paths
            Where they are now, if they were moved: folders that hold them, or those that they are.

        Raises
        ------
        InputError
            If none of the run's is there, or one place may be that of several.
        """
        details: Mapping[str, Any] = read_run_json(run.storage).get("details") or {}
        names, folder = details.get("inputs"), details.get("folder")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            names = []
        if not isinstance(folder, str):
            folder = None
        if not inputs:
            return cls(tuple(names), folder)
        given = [os.fspath(name) for name in inputs]
        places = [_absolute(name) for name in given]
        now = {name: found for name in names if (found := _found(name, places, is_only=len(names) == 1)) is not None}
        where = ", ".join(map(printable, places))
        if not now:
            which = (
                f"the inputs of {run.path}, such as {printable(names[0])}" if names else "a run that names its inputs"
            )
            msg = f"{where}: expected {which}, found none of them"
            raise InputError(msg)
        if len(set(now.values())) < len(now):
            msg = f"{where}: expected each input of {run.path} in a place of its own, got one for several of them"
            raise InputError(msg)
        moved = {pair for then, found in now.items() for pair in _pairs(then, found)}
        return cls(tuple(now.values()), folder, tuple(sorted(moved, key=lambda pair: (-len(pair[0]), pair))))

    def located(self, path: str) -> str:
        """Where an exposure with this path in the tables is now, by name; whether it is there is not looked at."""
        if self.folder is not None and not is_url(path):
            path = os.path.join(printable(self.folder), path)  # noqa: PTH118 - of text, and of millions
        for then, now in self.moved:
            if path.startswith(then) and path[len(then) : len(then) + 1] in _ENDS:
                return f"{now}{path[len(then) :]}"
        return path


def _found(name: str, places: Sequence[str], *, is_only: bool) -> str | None:
    """Where an input is in one of the places: under as much of its path as is there; or the place itself."""
    for place in places:
        if is_url(place):
            continue
        if Path(place).name == Path(name).name and Path(place).exists():
            return place
        for tail in _tails(name):
            candidate = Path(place, tail)
            if candidate.exists() or (is_pattern(candidate) and any(True for _ in iglob(str(candidate)))):  # noqa: PTH207
                return str(candidate)
    return places[0] if is_only and (is_url(places[0]) or Path(places[0]).exists()) else None


def _tails(name: str) -> Iterator[Path]:
    """Ever less of a path, from its right, as long as it does not lead up."""
    parts = Path(name).parts
    yield from (Path(*parts[start:]) for start in range(1, len(parts)) if ".." not in parts[start:])


def _pairs(then: str, now: str) -> Iterator[tuple[str, str]]:
    """Names and folders of an input before and after."""
    if is_url(then) or is_url(now):
        yield printable(then.rstrip("/")), printable(now.rstrip("/"))
    elif is_pattern(Path(then)):
        yield printable(fixed_part(then)), printable(fixed_part(now))
    else:
        yield printable(then), printable(now)
        if Path(now).is_file():  # a manifest and its pictures, a set of FITS files
            yield printable(str(Path(then).parent)), printable(str(Path(now).parent))
