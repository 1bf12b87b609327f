"""
The tiles of a compressed image, checked before anything unpacks them.

What unpacks them trusts the file: a tile of gzip grows without limit, and one of HCOMPRESS that holds more pixels than
its header says is written over other memory. FITS standard 4.0, section 10.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from cascade.core.errors import input_error, reason
from cascade.inputs.inflate import inflated_size

if TYPE_CHECKING:
    from cascade.inputs.fits.structure import Hdu

_FORM = re.compile(r"(\d*)([LXBIJKAEDCMPQ])([LXBIJKAEDCM]?)")
_ITEM_BYTES = {
    "L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8, "C": 8, "P": 8, "M": 16, "Q": 16
}  # fmt: skip
_WIDEST_PIXEL = 8  # bytes
_GZIP = "GZIP_COMPRESSED_DATA"  # of tiles of floats that no other method takes
_HCOMPRESS_START = b"\xdd\x99"
_MAX_BIT_PLANES = 64


def check_tiles(data: memoryview, hdu: Hdu, name: str) -> None:
    """
    Refuse a compressed image of which a tile does not hold what its header says.

    Parameters
    ----------
    data : memoryview
        The data of the HDU: table and heap.
    hdu : Hdu
        A compressed image.
    name : str
        How errors call the file.

    Raises
    ------
    InputError
        If the table makes no sense, or a tile lies outside, or is longer or larger than it should be.
    """
    method = str(hdu.header.get("ZCMPTYPE", "")).strip()
    try:
        for column in ("COMPRESSED_DATA", _GZIP):
            packed_by = "GZIP_1" if column == _GZIP else method
            if packed_by.startswith(("GZIP", "HCOMPRESS")):
                for tile, n_pixels, packed in _tiles(data, hdu, column):
                    _check_tile(packed, packed_by, n_pixels, f"tile {tile}")
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise input_error(name, f"{hdu.name}: damaged {method} image: {reason(error)}") from error


def _tiles(data: memoryview, hdu: Hdu, column: str) -> Iterator[tuple[int, int, bytes]]:
    """Number, pixels and packed bytes of each tile that a column holds; none if there is no such column."""
    header, shape = hdu.header, hdu.shape
    row_bytes, n_rows = int(header["NAXIS1"]), int(header["NAXIS2"])
    heap = int(header.get("THEAP", row_bytes * n_rows))
    found = _column(hdu, column)
    if found is None:
        return
    start, kind, item_bytes = found
    sides = [int(header.get(f"ZTILE{k}", shape[-1] if k == 1 else 1)) for k in range(len(shape), 0, -1)]
    starts = product(*(range(0, n, side) for n, side in zip(shape, sides, strict=True)))
    width = 4 if kind == "P" else 8
    for tile, corner in enumerate(starts):
        place = tile * row_bytes + start
        length, offset = np.frombuffer(data[place : place + 2 * width], f">i{width}").tolist()
        first, n_bytes = heap + offset, length * item_bytes
        if length < 0 or offset < 0 or first + n_bytes > len(data):
            msg = (
                f"tile {tile}: expected it within the {len(data)} bytes of data, got bytes {first} to {first + n_bytes}"
            )
            raise ValueError(msg)
        n_pixels = math.prod(min(side, n - at) for side, n, at in zip(sides, shape, corner, strict=True))
        if length:
            yield tile, n_pixels, bytes(data[first : first + n_bytes])


def _column(hdu: Hdu, name: str) -> tuple[int, str, int] | None:
    """Where a column of descriptors starts in its row, their kind, and the bytes of an item that they point to."""
    start = 0
    for k in range(1, int(hdu.header["TFIELDS"]) + 1):
        form = _FORM.match(str(hdu.header[f"TFORM{k}"]).strip())
        if form is None:
            msg = f"expected a format of FITS in TFORM{k}, got {hdu.header[f'TFORM{k}']!r}"
            raise ValueError(msg)
        repeat, kind = int(form[1] or 1), form[2]
        if str(hdu.header.get(f"TTYPE{k}", "")).strip().upper() == name:
            if kind not in "PQ":
                msg = f"expected {name} of variable length, got {form[0]!r}"
                raise ValueError(msg)
            return start, kind, _ITEM_BYTES[form[3] or "B"]
        start += -(-repeat // 8) if kind == "X" else repeat * _ITEM_BYTES[kind]
    return None


def _check_tile(packed: bytes, method: str, n_pixels: int, where: str) -> None:
    """Refuse a tile that unpacks to more than its pixels; ValueError."""
    if method.startswith("GZIP"):
        limit = n_pixels * _WIDEST_PIXEL
        if inflated_size(packed, limit) > limit:
            msg = f"{where}: expected at most {limit} bytes when unpacked, got more"
            raise ValueError(msg)
        return
    # Magic, two sides, scale, sum of all pixels, bit planes of the three quadrants (cfitsio, fits_hdecompress.c).
    if not packed.startswith(_HCOMPRESS_START) or len(packed) < 25:
        msg = f"{where}: expected an HCOMPRESS stream, got {packed[:2]!r}"
        raise ValueError(msg)
    sides = np.frombuffer(packed[2:10], ">i4").tolist()
    if min(sides) < 1 or math.prod(sides) != n_pixels:
        msg = f"{where}: expected {n_pixels} pixels, got {sides[0]} x {sides[1]}"
        raise ValueError(msg)
    if max(packed[22:25]) > _MAX_BIT_PLANES:
        msg = f"{where}: expected at most {_MAX_BIT_PLANES} bit planes, got {max(packed[22:25])}"
        raise ValueError(msg)
