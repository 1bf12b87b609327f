"""Which reader opens which input."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from cascade.errors import InputError
from cascade.readers.archive import open_archive
from cascade.readers.base import Reader, chain, input_error, reason
from cascade.readers.images import IMAGE_SUFFIXES, open_folder, open_images, open_pattern
from cascade.readers.manifest import open_manifest
from cascade.readers.remote import open_remote
from cascade.readers.stacks import open_npy, open_zarr
from cascade.storage import is_url

Predicate = Callable[[Path], bool]
Opener = Callable[[Sequence[str]], Reader]

SUPPORTED = (
    "a folder of images, a glob pattern, a JPEG or PNG image, a .zip of images, an .npy stack, "
    "a Zarr store of previews, a manifest (.csv, .parquet); or an s3:// URL of images, a Zarr store or a manifest"
)


def open_inputs(inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Reader:
    """
    Open inputs of any kind, as one reader.

    Only names are listed; an image that turns out to be damaged is an error of `Reader.read`.

    Parameters
    ----------
    inputs : path or sequence of paths
        Each one a folder (searched recursively), a glob pattern, a JPEG or PNG image, a .zip of images, an .npy
        stack, a Zarr store of previews, or a manifest (.csv or .parquet); or an ``s3://…`` URL, see
        `cascade.readers.remote.open_remote`.

    Returns
    -------
    Reader
        The exposures of all inputs in the order given; within a folder, pattern or archive sorted by name.

    Raises
    ------
    InputError
        If there is no input, or one does not exist, is of no known kind or holds no exposure.
    """
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    names = [os.fspath(name) for name in inputs]
    if not names:
        msg = f"inputs: expected at least one: {SUPPORTED}"
        raise InputError(msg)
    # A shell hands over a pattern as its matches: neighbours of one kind go to one opener.
    return chain(opener(list(group)) for opener, group in groupby(names, key=_opener))


def _opener(name: str) -> Opener:
    """The first entry of the registry that takes an input."""
    if is_url(name):
        return open_remote
    path = Path(name)
    try:
        for predicate, opener in _REGISTRY:
            if predicate(path):
                return opener
        exists = path.exists()
    except OSError as error:
        raise input_error(name, reason(error)) from error
    if not exists:
        raise input_error(name, "no such file or folder")
    raise input_error(name, f"not an input that can be read; expected {SUPPORTED}")


def _is_pattern(path: Path) -> bool:
    """Whether a path is a glob pattern rather than a file with odd characters in its name."""
    return any(character in str(path) for character in "*?[") and not path.exists()


def _is_zarr(path: Path) -> bool:
    """Whether a path is a folder that Zarr wrote."""
    return path.is_dir() and (path.suffix.lower() == ".zarr" or (path / "zarr.json").is_file())


def _file_ending(*suffixes: str) -> Predicate:
    """Whether a path is a file with one of the endings, in any case."""
    return lambda path: path.suffix.lower() in suffixes and path.is_file()


def _each(open_one: Callable[[str], Reader]) -> Opener:
    """An opener of many inputs from an opener of one."""
    return lambda names: chain(map(open_one, names))


_REGISTRY: tuple[tuple[Predicate, Opener], ...] = (
    (_is_pattern, _each(open_pattern)),
    (_is_zarr, _each(open_zarr)),
    (Path.is_dir, _each(open_folder)),
    (_file_ending(*IMAGE_SUFFIXES), open_images),
    (_file_ending(".zip"), _each(open_archive)),
    (_file_ending(".npy"), _each(open_npy)),
    (_file_ending(".csv", ".parquet"), _each(open_manifest)),
)
