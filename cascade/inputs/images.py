"""JPEG and PNG files: single ones, folders of them, glob patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from cascade.core.errors import input_error, printable, reason
from cascade.core.exposure import UInt8Array
from cascade.inputs.base import ListedReader, Row
from cascade.inputs.decode import decode_image, read_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

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


def open_folder(name: str) -> FileReader:
    """
    List the images in a folder and below, sorted by their path in it; links to folders are not followed.

    Raises
    ------
    InputError
        If there is none, or a folder cannot be listed.
    """
    names = _sorted(name_array(filter(is_image_name, walk(name))))
    if not len(names):
        raise input_error(name, f"expected a folder with images ({', '.join(IMAGE_SUFFIXES)}), found none")
    return FileReader(pa.record_batch({"name": names}), name, Path(name).absolute())


def open_pattern(pattern: str) -> FileReader:
    """
    List the images that a glob pattern matches, sorted; ``**`` stands for any folders.

    Raises
    ------
    InputError
        If it matches none.
    """
    names = _sorted(name_array(filter(is_image_name, glob.iglob(pattern, recursive=True))))  # noqa: PTH207 - lazy, and takes absolute patterns
    if not len(names):
        raise input_error(pattern, f"no such file, and the pattern matches no image ({', '.join(IMAGE_SUFFIXES)})")
    return FileReader(pa.record_batch({"name": names}), "", Path.cwd())


def is_image_name(name: str) -> bool:
    """Whether a name ends like an image and is not one of the shadows that macOS leaves in archives."""
    path = PurePosixPath(name)
    return (
        path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith("._")
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
    """Paths below a folder of everything in it that is not a folder; one directory is open at a time."""
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            with os.scandir(Path(folder, below)) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{below}{entry.name}/")
                    else:
                        yield f"{below}{entry.name}"
        except OSError as error:
            raise input_error(Path(folder, below), reason(error)) from error
