"""The headers of a FITS file and where its data lie, checked against the size of the file before any pixel is read."""

from __future__ import annotations

import gzip
import io
import re
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any

import numpy as np

from cascade.core.errors import InputError, input_error, reason
from cascade.inputs.fields import whole_number
from cascade.inputs.fits.checksums import find_damage, is_edited
from cascade.inputs.fits.tiles import check_tiles
from cascade.inputs.time_limit import check_time

BLOCK = 2880
"""Bytes of a FITS block (FITS standard 4.0, section 3.1)."""

MAX_PIXELS = 2**26
"""Most pixels that one image may have: eight times a DECam CCD."""

_MAX_HDUS = 1024
_MAX_HEADER_BLOCKS = 512  # 18,000 cards; a primary header of DECam has 220
_MAX_UNPACKED_BYTES = 2**33  # of a .gz: 62 CCDs in 32 bits are 2.1 GB
_CHUNK = 2**22
_DAMAGED = (OSError, EOFError, ValueError, zlib.error)  # what reading a gzip raises
_EMPTY_PRIMARY = (
    "".join(card.ljust(80) for card in ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0", "EXTEND  = T", "END"))
    .ljust(BLOCK)
    .encode()
)


class Cards(Mapping[str, Any]):
    """
    The cards of a header by keyword; one that is malformed is as good as missing.

    Parameters
    ----------
    text : bytes
        The header as it stands in the file.

    Raises
    ------
    ValueError
        If it cannot be split into cards.
    """

    def __init__(self, text: bytes) -> None:
        from astropy.io import fits

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._header = fits.Header.fromstring(text)

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._header[key]
        except Exception as error:  # a value is parsed when it is asked for, and may be anything
            raise KeyError(key) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)

    def lines(self, pattern: re.Pattern[str]) -> list[str]:
        """The cards, as text, of which the keyword matches and the value makes sense."""
        keys = [key for key in dict.fromkeys(self._header) if pattern.fullmatch(key)]
        return [str(self._header.cards[key]).rstrip() for key in keys if key in self]


@dataclass(frozen=True, slots=True, eq=False)
class Hdu:
    """
    One header and the place of its data.

    Attributes
    ----------
    index
        Position in the file, from 0.
    header
        Its cards.
    start, data_start, data_bytes
        First byte of the header and of the data, and the length of the data without padding.
    is_edited
        Whether its CHECKSUM and DATASUM are those of an earlier header: it was changed since, and they say nothing of
        the data.
    """

    index: int
    header: Cards
    start: int
    data_start: int
    data_bytes: int
    is_edited: bool = False

    @property
    def name(self) -> str:
        """What messages call it, ``HDU 3 (S29)``."""
        name = str(self.header.get("EXTNAME", "")).strip()
        return f"HDU {self.index} ({name})" if name else f"HDU {self.index}"

    @property
    def padded_bytes(self) -> int:
        """Length of the data with its padding."""
        return -(-self.data_bytes // BLOCK) * BLOCK

    @property
    def is_compressed(self) -> bool:
        """Whether it is an image that was compressed tile by tile into a table."""
        return bool(self.header.get("ZIMAGE") is True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of the image, slowest first; empty if it is no image."""
        if not self.is_compressed and str(self.header.get("XTENSION", "IMAGE")).strip() != "IMAGE":
            return ()
        z = "Z" if self.is_compressed else ""
        return tuple(int(self.header[f"{z}NAXIS{k}"]) for k in range(int(self.header[f"{z}NAXIS"]), 0, -1))

    @property
    def plane(self) -> tuple[int, ...]:
        """The axes of the image without leading ones of length one, down to two: (1, 4094, 2046) is one plane."""
        shape = self.shape
        while len(shape) > 2 and shape[0] == 1:
            shape = shape[1:]
        return shape


@contextmanager
def plain_file(path: Path, name: str) -> Iterator[Path]:
    """
    Give a file that can be read at any place: the file itself, or what a ``.gz`` holds, unpacked aside.

    Raises
    ------
    InputError
        If it is missing, no file, or not the gzip that its name says.
    """
    try:
        if not S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise input_error(name, "not a file")
    except OSError as error:
        raise input_error(name, reason(error)) from error
    if path.suffix.lower() != ".gz":
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=".fits") as unpacked:
        try:
            with gzip.open(path) as packed:
                while chunk := packed.read(_CHUNK):
                    unpacked.write(chunk)
                    check_time(name)
                    if unpacked.tell() > _MAX_UNPACKED_BYTES:
                        raise input_error(name, f"expected at most {_MAX_UNPACKED_BYTES} bytes when unpacked")
        except _DAMAGED as error:
            raise input_error(name, f"truncated or damaged gzip: {reason(error)}") from error
        unpacked.flush()
        yield Path(unpacked.name)


def read_structure(path: Path, name: str) -> list[Hdu]:
    """
    Read all headers of a FITS file; no data is read. Zeros after the last HDU, as of a tape, are passed over.

    Parameters
    ----------
    path : Path
        A plain file.
    name : str
        How errors call it.

    Returns
    -------
    list of Hdu

    Raises
    ------
    InputError
        If it is no FITS file, is truncated, or a header makes no sense; also if zeros take the place of HDUs that the
        first header announces, as in a file that was only partly copied.
    """
    hdus: list[Hdu] = []
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = 0
            while start < size and len(hdus) < _MAX_HDUS and not (hdus and _is_zero(stream, start)):
                hdus.append(_read_hdu(stream, len(hdus), start, size, name))
                start = hdus[-1].data_start + hdus[-1].padded_bytes
            is_padded = start < size and _is_zero(stream, start)
    except OSError as error:
        raise input_error(name, reason(error)) from error
    if not hdus:
        raise input_error(name, "expected a FITS file, got an empty one")
    if is_padded:
        announced = whole_number(hdus[0].header.get("NEXTEND"))
        if announced is not None and announced >= len(hdus):
            got = f"got {len(hdus) - 1}, then zeros to its end"
            raise input_error(name, f"truncated: expected {announced} extensions, as NEXTEND says, {got}")
        return hdus
    if start < size:
        raise input_error(name, f"expected at most {_MAX_HDUS} HDUs, got more")
    return hdus


def read_primary(path: Path, name: str) -> Cards:
    """The first header of a FITS file, or InputError."""
    try:
        if not S_ISREG(path.stat().st_mode):  # as above
            raise input_error(name, "not a file")
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as packed:
                return _header(_header_text(packed, "HDU 0", name), "HDU 0", name)
        with path.open("rb") as stream:
            return _header(_header_text(stream, "HDU 0", name), "HDU 0", name)
    except _DAMAGED as error:
        raise input_error(name, reason(error)) from error


def read_leading_headers(path: Path, name: str) -> list[Cards]:
    """The first header of a FITS file, and the second if no data lie between them; InputError for the first."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            headers = [_header(_header_text(stream, "HDU 0", name), "HDU 0", name)]
            if headers[0].get("NAXIS") == 0:
                with suppress(InputError):  # there may be none
                    headers.append(_header(_header_text(stream, "HDU 1", name), "HDU 1", name))
    except (OSError, EOFError, zlib.error) as error:
        raise input_error(name, reason(error)) from error
    return headers


def read_bytes(path: Path, hdu: Hdu, name: str) -> bytes:
    """
    Read an HDU as it stands in its file, header and padded data, and check it against the checksums that it carries.

    Those of an edited HDU count for nothing, see `cascade.inputs.fits.checksums.is_edited`.

    Raises
    ------
    InputError
        If they do not fit, or the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(hdu.start)
            content = stream.read(hdu.data_start - hdu.start + hdu.padded_bytes)
    except OSError as error:
        raise input_error(name, reason(error)) from error
    n = hdu.data_start - hdu.start
    damage = None if hdu.is_edited else find_damage(memoryview(content)[:n], memoryview(content)[n:], hdu.header)
    if damage is not None:
        raise input_error(name, f"{hdu.name}: {damage}")
    return content


def checked_hdu(path: Path, hdu: Hdu, name: str) -> bytes:
    """
    Read an HDU as a FITS file of its own: itself if it is the first of its file, else after an empty primary.

    Raises
    ------
    InputError
        As `read_bytes`, and if a tile of a compressed image does not hold what its header says.
    """
    content = read_bytes(path, hdu, name)
    if hdu.is_compressed:
        check_tiles(memoryview(content)[hdu.data_start - hdu.start :], hdu, name)
    return content if hdu.index == 0 else _EMPTY_PRIMARY + content


@contextmanager
def hdu_alone(path: Path, hdu: Hdu, name: str) -> Iterator[Any]:
    """
    Give one HDU to astropy as if it were alone in its file, so that it does not parse all that come before.

    Yields
    ------
    astropy.io.fits HDU

    Raises
    ------
    InputError
        If it is damaged.
    """
    from astropy.io import fits

    content = checked_hdu(path, hdu, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            opened = fits.open(io.BytesIO(content), memmap=False)
            alone = opened[min(hdu.index, 1)]
        except Exception as error:  # astropy raises nearly anything on hostile bytes
            raise input_error(name, f"{hdu.name}: cannot read it: {reason(error)}") from error
        yield alone


def _read_hdu(stream: IO[bytes], index: int, start: int, size: int, name: str) -> Hdu:
    """One header, and the room that its data take."""
    stream.seek(start)
    text = _header_text(stream, f"HDU {index}", name)
    header = _header(text, f"HDU {index}", name)
    data_start = stream.tell()
    hdu = Hdu(index, header, start, data_start, 0)
    try:
        axes = [int(header[f"NAXIS{k}"]) for k in range(1, int(header["NAXIS"]) + 1)]
        n_bytes = 0
        if axes:
            groups = int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + int(np.prod(axes, dtype=object)))
            n_bytes = abs(int(header["BITPIX"])) // 8 * groups
        shape = hdu.shape
        tile = [int(header.get(f"ZTILE{k}", 1)) for k in range(len(shape), 0, -1)] if hdu.is_compressed else []
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # 1E999 is a number of FITS, and infinite
        raise input_error(name, f"{hdu.name}: expected a FITS header with axes, got {reason(error)}") from error
    if n_bytes < 0 or any(axis < 0 for axis in (*axes, *shape)):
        raise input_error(name, f"{hdu.name}: expected axes of positive length, got {axes}")
    if any(not 0 < side <= max(axis, 1) for side, axis in zip(tile, shape, strict=False)):
        raise input_error(name, f"{hdu.name}: expected tiles within the image of {shape}, got {tile}")
    if data_start + n_bytes > size:
        raise input_error(
            name, f"{hdu.name}: truncated: its data end at byte {data_start + n_bytes}, the file at {size}"
        )
    if np.prod(shape, dtype=object) > MAX_PIXELS:
        raise input_error(name, f"{hdu.name}: expected an image of at most {MAX_PIXELS} pixels, got {shape}")
    return Hdu(index, header, start, data_start, n_bytes, is_edited(text, header))


def _is_zero(stream: IO[bytes], start: int) -> bool:
    """Whether a file holds zeros only, from a byte to its end."""
    stream.seek(start)
    while chunk := stream.read(_CHUNK):
        if any(chunk):
            return False
    return True


def _header_text(stream: IO[bytes] | gzip.GzipFile, where: str, name: str) -> bytes:
    """The bytes of a header, up to and with the block that holds END."""
    blocks: list[bytes] = []
    while len(blocks) < _MAX_HEADER_BLOCKS:
        block = stream.read(BLOCK)
        expected = b"SIMPLE" if where == "HDU 0" else b"XTENSION"
        if not blocks and not block.startswith(expected):
            problem = f"expected FITS, which starts with {expected.decode()}, got {block[:8]!r}"
            raise input_error(name, f"{where}: {problem}" if blocks or where != "HDU 0" else problem)
        if len(block) < BLOCK:
            raise input_error(name, f"{where}: truncated in its header")
        blocks.append(block)
        if any(block[k : k + 80].rstrip() == b"END" for k in range(0, BLOCK, 80)):
            return b"".join(blocks)
    raise input_error(name, f"{where}: expected a header of at most {_MAX_HEADER_BLOCKS} blocks, got no END in it")


def _header(text: bytes, where: str, name: str) -> Cards:
    """Split a header into cards."""
    try:
        return Cards(text)
    except Exception as error:  # astropy raises nearly anything on hostile bytes
        raise input_error(name, f"{where}: cannot read its header: {reason(error)}") from error


def require_fits_extra() -> None:
    """
    Say what to install where FITS cannot be read.

    Raises
    ------
    InputError
        If astropy or sep is missing.
    """
    for package in ("astropy", "sep"):
        if find_spec(package) is None:
            msg = f"FITS: expected the packages astropy and sep, got no {package}: pip install 'ghost-cascade[fits]'"
            raise InputError(msg)
