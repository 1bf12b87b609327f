"""Which files and folders among inputs are no exposures: hidden ones, and what cascade made of exposures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from logging import getLogger
from pathlib import PurePosixPath

from cascade.core.errors import printable
from cascade.core.made import MADE

logger = getLogger(__name__)

# Folders by what is in them.
_FOLDERS = (
    ("run", {"run.json"}),
    ("Zarr store", {"zarr.json"}),
    ("report", {"index.html", "data.js"}),
    ("folder that cascade made", {MADE}),
)
# Pictures among exposures, by the file of a simulated season or of the demo beside them.
_PICTURES = (("season.json", "gallery.png"), (".cascade-demo", "overview.png"))


def made_folder(names: Set[str]) -> str | None:
    """What cascade made of exposures, if it made the folder with files of these names."""
    return next((what for what, marks in _FOLDERS if marks <= names), None)


def made_pictures(names: Set[str]) -> set[str]:
    """Pictures among the files of a folder that cascade drew."""
    return {picture for mark, picture in _PICTURES if mark in names and picture in names}


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, by its name, or one that macOS leaves."""
    return (name.startswith(".") and name != "..") or name == "__MACOSX"


def in_hidden(name: str) -> bool:
    """Whether one of the folders of a name in an archive or on a store is hidden."""
    return any(map(is_hidden, PurePosixPath(name).parts[:-1]))


def exposures_among(names: Iterable[str], where: str) -> list[str]:
    """
    Leave out of the names in an archive or on a store those that are hidden or were made by cascade; a warning says so.

    Parameters
    ----------
    names : iterable of str
        All of them, with slashes.
    where : str
        How the warning calls the place.
    """
    names = list(names)
    folders: dict[str, set[str]] = {}
    for name in names:
        folder, _, base = name.rpartition("/")
        folders.setdefault(folder, set()).add(base)
    made = {folder: what for folder, found in folders.items() if folder and (what := made_folder(found)) is not None}
    pictures = {folder: drawn for folder, found in folders.items() if (drawn := made_pictures(found))}
    taken = []
    for name in names:
        folder, _, base = name.rpartition("/")
        above = {folder, *map(str, PurePosixPath(folder).parents)}
        if not in_hidden(name) and not above & made.keys() and base not in pictures.get(folder, ()):
            taken.append(name)
    left_out = Counter(made.values())
    left_out["picture that cascade drew"] = sum(map(len, pictures.values()))
    say_left_out(where, left_out)
    return taken


def say_left_out(where: str, left_out: Counter[str]) -> None:
    """Warn of what was left out of a place, by kind."""
    if said := ", ".join(f"{number} {what}" for what, number in sorted(left_out.items()) if number):
        logger.warning("%s: left out of the files and folders in it: %s", printable(where), said)
