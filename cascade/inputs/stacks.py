"""Many previews in one array: .npy stacks, and Zarr stores of previews."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from errno import ENOENT
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cascade.camera import Camera
from cascade.core.errors import OutageError, input_error, printable, reason
from cascade.core.exposure import PREVIEW_SHAPE, Exposure, UInt8Array
from cascade.inputs.base import ListedReader, Row
from cascade.inputs.decode import check_lit, grey_levels
from cascade.inputs.fields import columns_of_fields, plain_name
from cascade.inputs.headers import HEADER_SCHEMA, header_columns, to_arrow
from cascade.inputs.npy import NpyHeader, read_header, read_one, read_whole
from cascade.inputs.time_limit import check_time
from cascade.storage import open_storage

if TYPE_CHECKING:
    import zarr

logger = getLogger(__name__)

MAX_EXPOSURES = 2**22
"""Most previews of one store or stack: all exposures of ten years of LSST are 2.5 million."""

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
        """Read one image."""
        header = _stack_header(self.file, path)
        if row["row"] >= header.shape[0]:
            raise input_error(path, f"the stack now has {header.shape[0]} images only")
        return grey_levels(read_one(self.file, header, row["row"], path), path)


@dataclass(slots=True, eq=False)
class _Ahead:
    """Images by row that were read along with one before them, and the indices for which that was tried."""

    images: dict[int, UInt8Array] = field(default_factory=dict)
    tried: range = range(0)
    array: zarr.Array[Any] | None = None  # through which they are read: see `bounded`

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
    camera
        Name of the camera, of which a CCD needs a chunk.
    """

    store: str
    array: zarr.Array[Any]
    camera: str
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
            block = np.asarray(self._bounded()[int(rows[0]) : int(rows[-1]) + 1], np.uint8)
            self._ahead.images = dict(zip(rows.tolist(), block, strict=True))

    def path(self, row: Row) -> str:
        """Store and row, ``previews.zarr[17]``."""
        return printable(f"{self.store}[{row['row']}]")

    def pixels(self, row: Row, path: str) -> UInt8Array:
        """Take one image that was read ahead, once; else read the chunk that holds it."""
        from cascade.inputs.zarr_limits import missing_chunk

        ahead = self._ahead.images.pop(row["row"], None)

        def image() -> tuple[UInt8Array, str | None]:
            preview = np.array(self._bounded()[row["row"]] if ahead is None else ahead, np.uint8, order="C")
            return preview, missing_chunk(self.array, row["row"], preview, Camera.load(self.camera).labels > 0)

        try:
            preview, missing = open_storage(self.store).retried(image, path)
        except OutageError:
            raise
        except Exception as error:  # every store and codec has its own errors
            raise input_error(path, f"cannot read the preview: {reason(error)}") from error
        if missing is not None:
            # Zarr gives the fill value for a chunk that is not there, which would be a sky without ghosts.
            raise input_error(path, f"expected a preview, got none or a part: its chunk {missing} is missing") from (
                FileNotFoundError(ENOENT, "no such chunk")
            )
        check_time(path)
        check_lit(preview, path)
        return preview

    def _bounded(self) -> zarr.Array[Any]:
        """The array with limits on what its chunks unpack to."""
        from cascade.inputs.zarr_limits import bounded

        if self._ahead.array is None:
            self._ahead.array = bounded(self.array)
        return self._ahead.array


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
    length = _stack_header(Path(name), name).shape[0]
    if not length:
        raise input_error(name, "expected a stack of previews, got none")
    rows = {"row": pa.array(np.arange(length)), **_identities(Path(name), length)}
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

    from cascade.inputs.zarr_limits import PlainFiles, check_previews

    try:
        place = open_storage(name).absolute().zarr("")
        node = zarr.open(PlainFiles(place, read_only=True) if isinstance(place, Path) else place, mode="r")
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
    if images.shape[0] > MAX_EXPOSURES:
        raise input_error(name, f"expected at most {MAX_EXPOSURES} previews, got {images.shape[0]}")
    check_previews(images, name)
    rows = {"row": pa.array(np.arange(images.shape[0])), **_header_arrays(members, images.shape[0], name)}
    return ZarrReader(pa.record_batch(rows), name, images, camera)


def _stack_header(file: Path, path: str) -> NpyHeader:
    """The header of a stack of previews."""
    header = read_header(file, path)
    _check_stack(header.shape, header.dtype, path)
    if header.shape[0] > MAX_EXPOSURES:
        raise input_error(path, f"expected at most {MAX_EXPOSURES} previews, got {header.shape[0]}")
    return header


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
    table = read_whole(beside, beside)
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
        logger.warning("%s", printable(f"{beside}: field {expnum!r} read as expnum"))
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
    from cascade.inputs.zarr_limits import bounded, check_column

    columns = {}
    for key, array in members.items():
        shape = getattr(array, "shape", "a group")
        if shape != (length,):
            raise input_error(name, f"expected {key!r} of shape ({length},), like the previews, got {shape}")
        check_column(array, f"{name}/{key}")
        try:
            columns[key] = to_arrow(np.asarray(bounded(array)[:]))
        except Exception as error:  # every store and codec has its own errors
            raise input_error(name, f"cannot read {key!r}: {reason(error)}") from error
    return header_columns(columns, name)
