"""Many previews in one array: .npy stacks, and Zarr stores of previews."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from errno import ENOENT
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cascade.core.errors import OutageError, input_error, printable, reason
from cascade.core.exposure import PREVIEW_SHAPE, Exposure, UInt8Array
from cascade.inputs.base import ListedReader, Row
from cascade.inputs.decode import MAX_BYTES, grey_levels
from cascade.inputs.fields import columns_of_fields, plain_name
from cascade.inputs.headers import HEADER_SCHEMA, header_columns, to_arrow
from cascade.storage import open_storage

if TYPE_CHECKING:
    import zarr

logger = getLogger(__name__)

_NPY_MAGIC = b"\x93NUMPY"
_BLOCK = 32  # images that Zarr reads in one call; one by one takes it three times as long

# In order of trust: DECam's own form, then plain numbers; all numbers of a column may be years, nights or MJDs.
_EXPNUM_TEXTS = (r"^D\d{6,8}$", r"^D?\d{5,8}$")
_TIMES = r"^\s*(((19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01]))|([5-7]\d{4})|(24[5-7]\d{4}))\s*$"
_BAND_TEXT = "^[ugrizY]$"


@dataclass(frozen=True, slots=True, eq=False)
class NpyReader(ListedReader):
    """
    One image of an (N, 400, 400) .npy array an exposure; the column ``row`` says which.

    Attributes
    ----------
    stack
        The file, as the user wrote it.
    file
        The same, absolute.
    """

    stack: str
    file: Path

    def path(self, row: Row) -> str:
        """File and row, ``x.npy[17]``."""
        return printable(f"{self.stack}[{row['row']}]")

    def pixels(self, row: Row, path: str) -> UInt8Array:
        """Copy one image out of the mapped file."""
        images = _map_npy(self.file, path)
        if row["row"] >= len(images):
            raise input_error(path, f"the stack now has {len(images)} images only")
        return grey_levels(images[row["row"]], path)


@dataclass(slots=True, eq=False)
class _Ahead:
    """Images by row that were read along with one before them, and the indices for which that was tried."""

    images: dict[int, UInt8Array] = field(default_factory=dict)
    tried: range = range(0)

    def __reduce__(self) -> tuple[type[_Ahead], tuple[()]]:
        """Pickled without the images."""
        return _Ahead, ()


@dataclass(frozen=True, slots=True, eq=False)
class ZarrReader(ListedReader):
    """
    One image of an (N, 400, 400) Zarr array an exposure; the column ``row`` says which.

    Attributes
    ----------
    store
        The store, as the user wrote it.
    array
        The Zarr array; it holds no open file.
    """

    store: str
    array: zarr.Array[Any]
    _ahead: _Ahead = field(default_factory=_Ahead, init=False)

    def read(self, index: int) -> Exposure:
        """Read one exposure, and with it those that follow, if they follow in the array, too."""
        if 0 <= index < len(self) and index not in self._ahead.tried:
            self._read_ahead(index)
        return ListedReader.read(self, index)  # super() does not know a class with slots

    def _read_ahead(self, index: int) -> None:
        """Read a block of images; where that fails, each is read, and complained of, on its own."""
        rows = self.rows.column("row").slice(index, _BLOCK).to_numpy()
        self._ahead.tried, self._ahead.images = range(index, index + len(rows)), {}
        if len(rows) < 2 or np.any(np.diff(rows) != 1):
            return
        with suppress(Exception):  # every store and codec has its own errors
            block = np.asarray(self.array[int(rows[0]) : int(rows[-1]) + 1], np.uint8)
            self._ahead.images = dict(zip(rows.tolist(), block, strict=True))

    def path(self, row: Row) -> str:
        """Store and row, ``previews.zarr[17]``."""
        return printable(f"{self.store}[{row['row']}]")

    def pixels(self, row: Row, path: str) -> UInt8Array:
        """Take one image that was read ahead, once; else read the chunk that holds it."""
        ahead = self._ahead.images.pop(row["row"], None)

        def image() -> UInt8Array:
            return np.array(self.array[row["row"]] if ahead is None else ahead, np.uint8, order="C")

        try:
            preview = open_storage(self.store).retried(image, path)
        except OutageError:
            raise
        except Exception as error:  # every store and codec has its own errors
            raise input_error(path, f"cannot read the preview: {reason(error)}") from error
        if not preview.any():
            # Zarr gives zeros for a chunk that is not there, so a store that went away would be a sky without ghosts.
            raise input_error(path, "expected a preview, got none: its chunk is missing") from FileNotFoundError(
                ENOENT, "no such chunk"
            )
        return preview


def open_npy(name: str) -> NpyReader:
    """
    Open a stack of previews, and the identities beside it.

    Parameters
    ----------
    name : str
        An (N, 400, 400) array of numbers. For ``x_NAME.npy`` a structured array ``z_NAME.npy`` beside it, if
        there, gives exposure numbers and bands (the layout of Chang et al. 2021, arXiv:2105.10524).

    Raises
    ------
    InputError
        If either is not such an array, holds Python objects, or their lengths differ.
    """
    images = _map_npy(Path(name), name)
    if not len(images):
        raise input_error(name, "expected a stack of previews, got none")
    rows = {"row": pa.array(np.arange(len(images))), **_identities(Path(name), len(images))}
    return NpyReader(pa.record_batch(rows), name, Path(name).absolute())


def open_zarr(name: str, *, camera: str = "decam") -> ZarrReader:
    """
    Open a Zarr store of previews.

    Parameters
    ----------
    name : str
        A folder or URL: an (N, 400, 400) uint8 array, or a group with that array as ``preview`` and, if
        known, 1-D arrays ``expnum`` (negative where unknown), ``band``, ``mjd_obs``, ``ra``, ``dec``, ``exptime`` of
        the same length.
    camera : str
        The camera that the store must be of, if it says one.

    Raises
    ------
    InputError
        If it is no such store.
    """
    import zarr  # here, since importing it takes a quarter of a second

    try:
        node = zarr.open(open_storage(name).absolute().zarr(""), mode="r")
    except Exception as error:  # every store has its own errors
        raise input_error(name, f"expected a Zarr store of previews: {reason(error)}") from error
    members: dict[str, Any] = {"preview": node} if isinstance(node, zarr.Array) else _members(node, name)
    found = node.attrs.get("camera", camera)
    if found != camera:
        raise input_error(name, f"expected previews of {camera}, got previews of {found}; --camera {found} takes them")
    images = members.pop("preview", None)
    if not isinstance(images, zarr.Array):
        raise input_error(name, f"expected a Zarr group with an array 'preview', got {sorted(members) or 'nothing'}")
    _check_stack(images.shape, images.dtype, name)
    if images.dtype != np.uint8:
        raise input_error(name, f"expected uint8 previews, got {images.dtype}")
    if not images.shape[0]:
        raise input_error(name, "expected a stack of previews, got none")
    if math.prod(images.chunks) > MAX_BYTES:
        raise input_error(name, f"expected chunks of at most {MAX_BYTES >> 20} MiB, got {images.chunks}: rechunk it")
    rows = {"row": pa.array(np.arange(images.shape[0])), **_header_arrays(members, images.shape[0], name)}
    return ZarrReader(pa.record_batch(rows), name, images)


def _map_npy(file: Path, path: str) -> npt.NDArray[np.number]:
    """A stack of previews, mapped."""
    images = _open_npy(file, path)
    _check_stack(images.shape, images.dtype, path)
    return images


def _open_npy(file: Path, path: str | Path) -> npt.NDArray[Any]:
    """Any .npy array, mapped; Python objects are never unpickled."""
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_NPY_MAGIC))
        if start == _NPY_MAGIC:
            return np.lib.format.open_memmap(file, mode="r")
    except OSError as error:
        raise input_error(path, reason(error)) from error
    except Exception as error:  # the header is a Python literal, which can be wrong in many ways
        problem = f"expected a complete .npy array of plain values, not Python objects: {reason(error)}"
        raise input_error(path, problem) from error
    raise input_error(path, f"expected a .npy array, got a file that starts with {start!r}")


def _check_stack(shape: tuple[int, ...], dtype: np.dtype[Any], path: str) -> None:
    """Refuse what is not a stack of previews."""
    if len(shape) != 3 or shape[1:] != PREVIEW_SHAPE:
        raise input_error(path, f"expected a stack of shape (N, 400, 400), got {shape}")
    if dtype.kind not in "iuf":
        raise input_error(path, f"expected a stack of numbers, got dtype {dtype}")


def _identities(stack: Path, length: int) -> dict[str, pa.Array]:
    """Exposure numbers and bands from the z_ array beside an x_ stack; empty if there is none."""
    beside = stack.with_name(f"z_{stack.name[2:]}")
    if not stack.name.startswith("x_") or not beside.is_file():
        return {}
    table = _open_npy(beside, beside)
    if table.dtype.names is None:
        raise input_error(beside, f"expected a structured array of exposure numbers, got dtype {table.dtype}")
    if table.shape != (length,):
        raise input_error(beside, f"expected {length} rows, as many as {stack} has images, got shape {table.shape}")
    try:
        columns = {
            name: to_arrow(table[name])
            for name in table.dtype.names
            if table[name].ndim == 1 and table[name].dtype.kind in "iufUS"
        }
        texts = {
            name: column.cast(pa.large_string()) for name, column in columns.items() if table[name].dtype.kind in "US"
        }
    except Exception as error:  # damaged text makes numpy raise even SystemError
        raise input_error(beside, f"cannot read its fields: {reason(error)}") from error
    named = columns_of_fields(list(columns))
    expnum = named.get("expnum") or _numbered(columns) or _matching(texts, *_EXPNUM_TEXTS)
    band = named.get("band") if named.get("band") in texts else _matching(texts, _BAND_TEXT)
    if expnum is None:
        problem = "expected a field of exposure numbers like 'D00360471', got the fields "
        raise input_error(beside, problem + ", ".join(table.dtype.names))
    found = {"expnum": texts.get(expnum, columns[expnum])}
    if "expnum" not in named:
        logger.warning("%s: field %s read as expnum", beside, printable(repr(expnum)))
    if band is not None:
        found["band"] = texts[band]
    return header_columns(found, beside)


def _numbered(columns: dict[str, pa.Array]) -> str | None:
    """A column called exposure, if it holds no fractions: elsewhere the name stands for seconds."""
    return next(
        (
            name
            for name, column in columns.items()
            if plain_name(name) == "exposure" and not pa.types.is_floating(column.type)
        ),
        None,
    )


def _matching(texts: dict[str, pa.Array], *patterns: str) -> str | None:
    """The first column of which all values match a pattern, the earlier patterns first."""
    for pattern in patterns:
        for name, column in texts.items():
            times = pc.all(pc.match_substring_regex(column, _TIMES)).as_py()
            if not times and pc.all(pc.match_substring_regex(column, pattern)).as_py():
                return name
    return None


def _members(group: zarr.Group, name: str) -> dict[str, Any]:
    """The members of a Zarr group that concern us."""
    try:
        return {key: group[key] for key in ("preview", *HEADER_SCHEMA.names) if key in group}
    except Exception as error:  # every store has its own errors
        raise input_error(name, f"expected a Zarr store of previews: {reason(error)}") from error


def _header_arrays(members: dict[str, Any], length: int, name: str) -> dict[str, pa.Array]:
    """The header fields in a Zarr group."""
    columns = {}
    for key, array in members.items():
        shape = getattr(array, "shape", "a group")
        if shape != (length,):
            raise input_error(name, f"expected {key!r} of shape ({length},), like the previews, got {shape}")
        try:
            columns[key] = to_arrow(array[:])
        except Exception as error:  # every store and codec has its own errors
            raise input_error(name, f"cannot read {key!r}: {reason(error)}") from error
    return header_columns(columns, name)
