"""JPEG and PNG files: single ones, folders of them, glob patterns."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path, PurePath, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from cascade.core.errors import input_error, printable, reason
from cascade.core.exposure import UInt8Array
from cascade.core.made import MADE
from cascade.inputs.base import ListedReader, Row
from cascade.inputs.decode import decode_image, read_file
from cascade.inputs.left_out import is_hidden, made_folder, made_pictures, say_left_out

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_MAGIC = re.compile(r"[*?\[]")

_BATCH = 65536  # names held as Python objects at a time


@dataclass(frozen=True, slots=True, eq=False)
class FileReader(ListedReader):
    """
    One image file an exposure; the column ``name`` is its path below `folder`.

    Attributes
    ----------
    folder
        What goes before a name, as the user wrote it; may be empty.
    root
        The same folder, absolute, so that a worker started elsewhere finds it.
    """

    folder: str
    root: Path

    def path(self, row: Row) -> str:
        """Folder and name."""
        return printable(str(Path(self.folder, os.fsdecode(row["name"]))))

    def pixels(self, row: Row, path: str) -> UInt8Array:
        """Decode the file."""
        return decode_image(read_file(self.root / os.fsdecode(row["name"]), path), path)


def open_images(names: Sequence[str]) -> FileReader:
    """Single images, in the order given."""
    return FileReader(pa.record_batch({"name": name_array(names)}), "", Path.cwd())


def open_folder(name: str, found: Iterable[str] | None = None) -> FileReader:
    """
    List the images in a folder and below, sorted by their path in it; `found` is what `walk` gives.

    Raises
    ------
    InputError
        If there is none, or a folder cannot be listed.
    """
    names = _sorted(name_array(filter(is_image_name, walk(name) if found is None else found)))
    if not len(names):
        raise input_error(name, f"expected a folder with images ({', '.join(IMAGE_SUFFIXES)}), found none")
    return FileReader(pa.record_batch({"name": names}), name, Path(name).absolute())


def open_pattern(pattern: str, found: Iterable[str] | None = None) -> FileReader:
    """
    List the images that a glob pattern matches, sorted; `found` is what `matches` gives.

    Raises
    ------
    InputError
        If it matches none.
    """
    names = _sorted(name_array(filter(is_image_name, matches(pattern) if found is None else found)))
    if not len(names):
        raise input_error(pattern, f"no such file, and the pattern matches no image ({', '.join(IMAGE_SUFFIXES)})")
    return FileReader(pa.record_batch({"name": names}), "", Path.cwd())


def is_image_name(name: str) -> bool:
    """Whether a name ends like an image and is not hidden, as the shadows that macOS leaves in archives."""
    path = PurePosixPath(name)
    return (
        path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and "__MACOSX" not in path.parts
        and not name.endswith("/")
    )


def name_array(names: Iterable[str]) -> pa.Array:
    """Names as bytes, since a file name need not be valid text; 2 million of 30 bytes take 76 MB."""
    encoded = map(os.fsencode, names)
    chunks = []
    while batch := list(islice(encoded, _BATCH)):
        chunks.append(pa.array(batch, pa.large_binary()))
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.large_binary())


def _sorted(names: pa.Array) -> pa.Array:
    """The names by their bytes, which for UTF-8 is by code point."""
    return names.take(pc.sort_indices(names))


def walk(folder: str) -> Iterator[str]:
    """
    Paths below a folder of the files in it, each once; one directory is open at a time.

    Links to folders are followed, after the real ones and to no folder twice. Hidden files and folders, such as
    ``.ipynb_checkpoints``, and what cascade made of exposures are left out, see `cascade.inputs.left_out`.

    Raises
    ------
    InputError
        If a folder cannot be listed.
    """
    pending, links, file_links = [""], list[str](), list[str]()
    seen: set[str] = set()
    left_out: Counter[str] = Counter()
    while pending or links:
        below = pending.pop() if pending else links.pop(0)
        place = Path(folder, below)
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(place) as entries:
                found = list(entries)
        except OSError as error:
            raise input_error(place, reason(error)) from error
        names = {entry.name for entry in found}
        if (below or MADE in names) and (made := made_folder(names)) is not None:
            left_out[made] += 1
            continue
        drawn = made_pictures(names)
        left_out["picture that cascade drew"] += len(drawn)
        for entry in found:
            name = f"{below}{entry.name}"
            if entry.name in drawn:
                continue
            if is_hidden(entry.name):
                left_out["hidden"] += is_image_name(entry.name.lstrip(".")) or entry.is_dir()
            elif entry.is_dir():
                (links if entry.is_symlink() else pending).append(f"{name}/")
            elif entry.is_symlink():
                file_links.append(name)
            else:
                yield name
    yield from _others(folder, sorted(file_links), seen)
    say_left_out(folder, left_out)


def _others(folder: str, links: list[str], listed: set[str]) -> Iterator[str]:
    """The links to files that lie in none of the folders that were listed, each file once."""
    seen: set[str] = set()
    for name in links:
        real = os.path.realpath(Path(folder, name))
        parent, base = os.path.split(real)
        if real not in seen and (parent not in listed or is_hidden(base)):
            seen.add(real)
            yield name


def matches(pattern: str) -> Iterator[str]:
    """The files that a glob pattern matches, each once; ``**`` stands for any folders, as `walk` goes through them."""
    parts = PurePath(pattern).parts
    tree = fixed_part(pattern)
    if "**" not in parts:
        yield from _not_made(glob.iglob(pattern), tree)  # noqa: PTH207 - lazy, and takes absolute patterns
        return
    first = 0 if tree == "." else len(PurePath(tree).parts)
    wanted = re.compile(_parts_regex(parts[first:]))
    if Path(tree).is_dir():
        start = "" if first == 0 else tree
        yield from (os.path.join(start, name) for name in walk(tree) if wanted.fullmatch(name))  # noqa: PTH118 - of text


def fixed_part(pattern: str) -> str:
    """The folder of a pattern below which all is that it matches."""
    return str(Path(*takewhile(lambda part: not _MAGIC.search(part), PurePath(pattern).parts)))


def _parts_regex(parts: Sequence[str]) -> str:
    """The regular expression of a pattern; ``*`` stands for no slash, and ``**`` at its end for any file."""
    if parts[-1] == "**":
        parts = (*parts, "*")
    return "".join("(?:[^/]+/)*" if part == "**" else f"{_part_regex(part)}/" for part in parts).removesuffix("/")


def _part_regex(part: str) -> str:
    """The regular expression of one part of a pattern."""
    return fnmatch.translate(part).replace(".*", "[^/]*").removeprefix("(?s:").removesuffix(r")\Z")


def _names_in(folder: Path) -> set[str]:
    """Names of the files in a folder; none if it may not be listed."""
    try:
        return {entry.name for entry in folder.iterdir()}
    except OSError:
        return set()


def _not_made(found: Iterable[str], tree: str) -> Iterator[str]:
    """The matches of a pattern that are not hidden, nor below a folder in `tree` that cascade made."""
    names: dict[Path, set[str]] = {}
    left_out: Counter[str] = Counter()
    for name in found:
        path = Path(name)
        if is_hidden(path.name):
            continue
        for folder in path.parents:
            if folder not in names:
                names[folder] = _names_in(folder)
            made = made_folder(names[folder]) if folder != Path(tree) or MADE in names[folder] else None
            if made is not None or folder == Path(tree):
                break
        drawn = path.name in made_pictures(names[path.parent])
        if made is None and not drawn:
            yield name
        else:
            left_out["match in what cascade made"] += 1
    say_left_out(tree, left_out)
