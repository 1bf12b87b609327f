"""Previews as images for pages."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cascade.core.exposure import UInt8Array
from cascade.core.made import DISPLAY_NOTE

WHITE_LEVEL = 140.0
"""Grey level displayed as white; the sky is at ~50, 99 % of all pixels lie below 190."""

_JPEG_QUALITY = 72
_SMALL = (200, 200)


def preview_jpeg(image: UInt8Array, *, small: bool = False) -> bytes:
    """A preview, scaled for display, as JPEG; a small one has half the side length."""
    picture = Image.fromarray(_stretched(image))
    if small:
        picture = picture.resize(_SMALL, Image.Resampling.BOX)
    return _encoded(picture, "JPEG", quality=_JPEG_QUALITY, comment=DISPLAY_NOTE)


def preview_png(image: UInt8Array) -> bytes:
    """A preview, scaled for display, as lossless PNG."""
    note = PngInfo()
    note.add_text("comment", DISPLAY_NOTE)
    return _encoded(Image.fromarray(_stretched(image)), "PNG", compress_level=1, pnginfo=note)


def data_uri(data: bytes, media_type: str) -> str:
    """A data URL."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def _stretched(image: UInt8Array) -> UInt8Array:
    """The (H, W) uint8 preview with `WHITE_LEVEL` as white."""
    stretched: UInt8Array = np.clip(image * (255 / WHITE_LEVEL), 0, 255).astype(np.uint8)
    return stretched


def _encoded(picture: Image.Image, format: str, **options: int | str | PngInfo) -> bytes:
    """An image, encoded."""
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()
