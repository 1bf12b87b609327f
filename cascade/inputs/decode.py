"""From bytes and arrays of unknown origin to a preview of (400, 400) uint8, or an InputError."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL.ExifTags import Base
from PIL.Image import Image, Transpose
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from cascade.core.errors import input_error, reason
from cascade.core.exposure import PREVIEW_SHAPE, UInt8Array
from cascade.core.made import DISPLAY_NOTE

MAX_BYTES = 64 * 2**20
"""Most bytes that one image, archive member or chunk may have: 400 times a raw preview."""

# The classes are called themselves: Image.open warns of a decompression bomb before we see the size, and opens
# the multi-picture kin of JPEG as well.
_FORMATS: dict[bytes, tuple[str, type[ImageFile]]] = {
    b"\xff\xd8\xff": ("JPEG", JpegImageFile),
    b"\x89PNG\r\n\x1a\n": ("PNG", PngImageFile),
}
_MODES = {"JPEG": ("L", "RGB"), "PNG": ("L", "LA", "RGB", "RGBA", "P")}
# Between the channels of a grey image, in levels: a JPEG is rounded between the colours and the luma it keeps.
_TINT = {"JPEG": 8, "PNG": 0}
_SCAN, _MAX_SCANS = b"\xff\xda", 100  # of a JPEG; each is decoded in full, and usual progressive ones have ten
# What viewers and browsers do with an image before they show it (TIFF 6.0 and Exif 2.32, tag Orientation).
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_PNG_CHUNKS = 8  # position of the first one: length, type, data, CRC of type and data (PNG, section 5.3)
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
        status = file.stat()
        if not S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise input_error(path, "not a file")
        with file.open("rb") as stream:
            data = stream.read(min(status.st_size, MAX_BYTES) + 1)  # Python allocates as much
    except FileNotFoundError as error:
        raise input_error(path, "no such file") from error
    except (OSError, ValueError) as error:  # the latter: a name with a zero byte
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
        Grey levels, turned as its Exif orientation says: as browsers, and so annotation tools, show it.

    Raises
    ------
    InputError
        If it is neither format, has another size or depth, is damaged, in colour, transparent or black.
    """
    format_, opener = _format(data, path)
    if format_ == "PNG":
        _check_chunks(data, path)
    try:
        image = opener(BytesIO(data))
    except Exception as error:  # Pillow raises nearly anything on hostile bytes
        raise input_error(path, f"truncated or damaged {format_}: {reason(error)}") from error
    if _is_for_display(image):
        raise input_error(path, f"expected a preview, got one {DISPLAY_NOTE}, in other grey levels")
    height, width = PREVIEW_SHAPE
    if image.size != (width, height):
        got = f"{image.size[0]}x{image.size[1]}"
        raise input_error(path, f"expected a {width}x{height} focal-plane image, got {got}")
    if format_ == "PNG" and data[_PNG_BIT_DEPTH] != 8:
        raise input_error(path, f"expected 8-bit grey levels, got a {data[_PNG_BIT_DEPTH]}-bit PNG")
    if image.mode not in _MODES[format_]:
        raise input_error(path, f"expected a grey or RGB image, got a {image.mode} {format_}")
    if format_ == "JPEG" and (n_scans := data.count(_SCAN)) > _MAX_SCANS:
        raise input_error(path, f"expected a JPEG of at most {_MAX_SCANS} scans, got {n_scans}")
    try:
        image.load()
        turned = _turned(image)
        levels = np.array(turned.convert("L"))
        colours = None if image.mode == "L" else np.array(turned.convert("RGBA"), np.int16)
    except Exception as error:  # as above
        raise input_error(path, f"truncated or damaged {format_}: {reason(error)}") from error
    if colours is not None:
        _check_grey(colours, format_, path)
    check_lit(levels, path)
    return levels


def grey_levels(values: npt.NDArray[np.number], path: str) -> UInt8Array:
    """
    Convert numbers to grey levels without changing any.

    Raises
    ------
    InputError
        If a value is not a whole number from 0 to 255, or none is above 1.
    """
    values = np.array(values, order="C")  # a copy that may be written to
    if values.dtype != np.uint8:
        bad = ~((values >= 0) & (values <= 255) & (values == np.rint(values)))
        if bad.any():
            raise input_error(path, f"expected whole grey levels from 0 to 255, got {values[bad][0]}")
    levels = values.astype(np.uint8, copy=False)
    check_lit(levels, path)
    return levels


def check_lit(levels: UInt8Array, path: str) -> None:
    """Refuse an image that is black, or whose levels run from 0 to 1, as of a mask or of floats that were cut."""
    if levels.max() <= 1:
        raise input_error(path, f"expected grey levels from 0 to 255, got none above {levels.max()}: no sky in it")


def _format(data: bytes, path: str) -> tuple[str, type[ImageFile]]:
    """The name of the format and what opens it, by the first bytes."""
    for magic, found in _FORMATS.items():
        if data.startswith(magic):
            return found
    got = f"a file that starts with {data[:8]!r}" if data else "an empty file"
    raise input_error(path, f"expected a JPEG or PNG image, got {got}")


def _is_for_display(image: ImageFile) -> bool:
    """Whether an image says that cascade drew it for a page."""
    note = image.info.get("comment", "")
    return (note.decode("latin-1") if isinstance(note, bytes) else note) == DISPLAY_NOTE


def _check_chunks(data: bytes, path: str) -> None:
    """Refuse a PNG of which a checksum is wrong: Pillow does not look at those of the pixels."""
    start = _PNG_CHUNKS
    while (end := start + 12 + int.from_bytes(data[start : start + 4], "big")) <= len(data):
        kind = data[start + 4 : start + 8]
        if crc32(data[start + 4 : end - 4]).to_bytes(4, "big") != data[end - 4 : end]:
            raise input_error(path, f"truncated or damaged PNG: the checksum of its chunk {kind!r} is wrong")
        if kind == b"IEND":
            return
        start = end
    raise input_error(path, "truncated or damaged PNG: its last chunk is missing")


def _turned(image: Image) -> Image:
    """The image as viewers show it."""
    try:
        orientation = image.getexif().get(Base.Orientation)
    except Exception:  # Pillow raises nearly anything on hostile bytes; viewers then show the image as it is stored
        orientation = None
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _check_grey(colours: npt.NDArray[np.int16], format_: str, path: str) -> None:
    """Refuse an (H, W, 4) RGBA image that is not grey and opaque: false colours, or something drawn over the sky."""
    if (colours[..., 3] != 255).any():
        raise input_error(path, f"expected a grey image, got a transparent {format_}")
    tint = np.ptp(colours[..., :3], axis=-1)
    if (n_coloured := int((tint > _TINT[format_]).sum())) > 0:
        got = f"got a {format_} in colour: {n_coloured} of {tint.size} pixels, by up to {tint.max()} levels"
        raise input_error(path, f"expected a grey image, {got}; save the grey levels, such as with cmap='gray'")
