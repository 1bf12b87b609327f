"""Data files of the package: arrays with a description and their sha256, no pickles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.core.errors import InputError

Arrays = dict[str, npt.NDArray[Any]]


def write_npz(path: Path, arrays: Arrays, description: Mapping[str, Any]) -> None:
    """Write arrays with their description, to which their sha256 is added."""
    described = {**description, "arrays_sha256": _sha256(arrays)}
    np.savez_compressed(path, description=np.array(json.dumps(described)), **arrays)  # type: ignore[arg-type]


def read_npz(package: str, shipped: str, path: Path | None = None, *, build: str) -> tuple[dict[str, Any], Arrays]:
    """
    Read a file that `write_npz` wrote.

    Parameters
    ----------
    package : str
        Name of the package that holds it.
    shipped : str
        Name of the package's own file.
    path : Path or None
        Another file to read instead.
    build : str
        Command that builds the file, for the error message.

    Returns
    -------
    tuple
        Description and arrays.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    try:
        if path is None:
            with resources.as_file(resources.files(package).joinpath(shipped)) as file:
                arrays = _load(file)
        else:
            arrays = _load(path)
        description = json.loads(str(arrays.pop("description")))
    except (OSError, ValueError, KeyError) as error:
        msg = f"{path or shipped}: expected a data file of the package, got {error}; build one with {build}"
        raise InputError(msg) from error
    expected, got = description.get("arrays_sha256"), _sha256(arrays)
    if expected != got:
        msg = f"{path or shipped}: expected arrays of sha256 {expected}, got {got}; build them with {build}"
        raise InputError(msg)
    return description, arrays


def _load(path: Path) -> Arrays:
    """All arrays of a file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _sha256(arrays: Arrays) -> str:
    """Hash of names and values, independent of dates and compression."""
    return hashlib.sha256(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))).hexdigest()
