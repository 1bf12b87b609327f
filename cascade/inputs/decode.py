"""From bytes and arrays of unknown origin to a preview of (400, 400) uint8, or an InputError."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from stat import S_ISREG

import numpy as np
import numpy.typing as npt
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from cascade.core.errors import input_error, reason
from cascade.core.exposure import PREVIEW_SHAPE, UInt8Array

MAX_BYTES = 64 * 2**20
"""Most bytes that one image, archive member or chunk may have: 400 times a raw preview."""

# The classes are called themselves: Image.open warns of a decompression bomb before we see the size, and opens
# the multi-picture kin of JPEG as well.
_FORMATS: dict[bytes, tuple[str, type[ImageFile]]] = {
    b"\xff\xd8\xff": ("JPEG", JpegImageFile),
    b"\x89PNG\r\n\x1a\n": ("PNG", PngImageFile),
}
# From the modes that are read to what they become: a JPEG gives its luma, a PNG must be grey.
_CONVERSIONS = {
    "JPEG": {"L": "L", "RGB": "L"},
    "PNG": {"L": "L", "LA": "RGBA", "RGB": "RGBA", "RGBA": "RGBA", "P": "RGBA"},
}
_PNG_BIT_DEPTH = 24  # position of the byte that holds it in the IHDR chunk, which comes first (PNG, section 11.2.2)


def read_file(file: Path, path: str) -> bytes:
    """
    Read a whole file of at most `MAX_BYTES`.

    Raises
    ------
    InputError
        If it is missing, not a file, too large or cannot be read.
    """
    try:
        if not S_ISREG(file.stat().st_mode):  # opening a pipe would wait for ever
            raise input_error(path, "not a file")
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise input_error(path, "no such file") from error
    except OSError as error:
        raise input_error(path, reason(error)) from error
    if len(data) > MAX_BYTES:
        raise input_error(path, f"expected an image of at most {MAX_BYTES >> 20} MiB, got a larger file")
    return data


def decode_image(data: bytes, path: str) -> UInt8Array:
    """
    Decode a JPEG or PNG.

    Parameters
    ----------
    data : bytes
        The whole file.
    path : str
        How errors name it.

    Returns
    -------
    ndarray of uint8, shape (400, 400)
        Grey levels; of a JPEG in colour, its luma.

    Raises
    ------
    InputError
        If it is neither format, has another size or depth, is damaged, or is a PNG in colour or transparent.
    """
    format_, opener = _format(data, path)
    try:
        image = opener(BytesIO(data))
    except Exception as error:  # Pillow raises nearly anything on hostile bytes
        raise input_error(path, f"truncated or damaged {format_}: {reason(error)}") from error
    height, width = PREVIEW_SHAPE
    if image.size != (width, height):
        got = f"{image.size[0]}x{image.size[1]}"
        raise input_error(path, f"expected a {width}x{height} focal-plane image, got {got}")
    if format_ == "PNG" and data[_PNG_BIT_DEPTH] != 8:
        raise input_error(path, f"expected 8-bit grey levels, got a {data[_PNG_BIT_DEPTH]}-bit PNG")
    mode = _CONVERSIONS[format_].get(image.mode)
    if mode is None:
        raise input_error(path, f"expected a grey or RGB image, got a {image.mode} {format_}")
    try:
        pixels = np.array(image.convert(mode))
    except Exception as error:  # as above
        raise input_error(path, f"truncated or damaged {format_}: {reason(error)}") from error
    return pixels if pixels.ndim == 2 else _grey(pixels, path)


def grey_levels(values: npt.NDArray[np.number], path: str) -> UInt8Array:
    """
    Convert numbers to grey levels without changing any.

    Raises
    ------
    InputError
        If a value is not a whole number from 0 to 255.
    """
    values = np.array(values, order="C")  # out of the mapped file, once
    if values.dtype != np.uint8:
        bad = ~((values >= 0) & (values <= 255) & (values == np.rint(values)))
        if bad.any():
            raise input_error(path, f"expected whole grey levels from 0 to 255, got {values[bad][0]}")
    return values.astype(np.uint8, copy=False)


def _format(data: bytes, path: str) -> tuple[str, type[ImageFile]]:
    """The name of the format and what opens it, by the first bytes."""
    for magic, found in _FORMATS.items():
        if data.startswith(magic):
            return found
    got = f"a file that starts with {data[:8]!r}" if data else "an empty file"
    raise input_error(path, f"expected a JPEG or PNG image, got {got}")


def _grey(pixels: UInt8Array, path: str) -> UInt8Array:
    """The one level of an (H, W, 4) RGBA image that is grey and opaque."""
    if (pixels[..., 1:3] != pixels[..., :1]).any() or (pixels[..., 3] != 255).any():
        raise input_error(path, "expected a grey image, got a PNG in colour or transparent")
    return np.array(pixels[..., 0], order="C")
