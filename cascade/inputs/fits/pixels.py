"""The pixels of one CCD: decompressed, freed of bias and of the step between its amplifiers, bad ones marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.core.errors import InputError, OutageError, input_error, reason
from cascade.core.exposure import BoolArray, Float32Array
from cascade.inputs.fields import parse_gain
from cascade.inputs.fits.ccds import CcdImage, MaskPlane, section
from cascade.inputs.fits.isolated_image import read_isolated
from cascade.inputs.fits.structure import hdu_alone

_SEAM_ROWS = 4  # every so many rows are compared
_SEAM_PX = 64  # columns on each side of the seam between two amplifiers whose levels are compared
_TRIMMED = 0.1  # of the overscan of a row, at each end, before its mean: a median of whole numbers would be one
_MAX_STEP = 0.2  # largest relative step that is taken for a difference in gain


@dataclass(frozen=True, slots=True, eq=False)
class CcdPixels:
    """
    The light-sensitive pixels of a CCD.

    Attributes
    ----------
    values
        (ny, nx) float32, FITS axes 2 and 1; may hold NaN.
    bad
        (ny, nx) bool of pixels to ignore, or None.
    remarks
        What its header lacks.
    """

    values: Float32Array
    bad: BoolArray | None
    remarks: tuple[str, ...] = ()


def read_ccd(image: CcdImage, name: str) -> CcdPixels:
    """
    Read one CCD.

    Raises
    ------
    InputError
        If its data are damaged or its checksum is wrong.
    """
    pixels = _read(image.file, image.hdu, name)
    y0, y1, x0, x1 = image.trim
    remarks: tuple[str, ...] = ()
    if image.raw:
        gains, remarks = amplifier_gains(image.hdu.header)
        values = _without_bias(pixels, image.hdu.header, image.trim, gains, f"{name}: {image.hdu.name}")
    else:
        values = np.ascontiguousarray(pixels[y0:y1, x0:x1], np.float32)
    bad = None if image.mask is None else _bad_pixels(image.mask, name)[y0:y1, x0:x1]
    return CcdPixels(values, bad, remarks)


def read_mask(mask: MaskPlane, name: str) -> npt.NDArray[np.integer[Any]]:
    """The integers of a mask, or InputError."""
    plane = _read(mask.file, mask.hdu, name)
    if plane.dtype.kind not in "iu":
        raise input_error(name, f"{mask.hdu.name}: expected a mask of integers, got {plane.dtype}")
    return plane


def _bad_pixels(mask: MaskPlane, name: str) -> BoolArray:
    """Pixels that a mask says to ignore."""
    plane = read_mask(mask, name)
    bad: BoolArray = np.isin(plane, mask.bad) if mask.codes else (plane & mask.bad[0]) != 0
    return bad


def _read(file: Any, hdu: Any, name: str) -> npt.NDArray[Any]:  # noqa: ANN401
    """The image of an HDU in native byte order."""
    try:
        if hdu.is_compressed:
            data = read_isolated(file, hdu, name)
        else:
            with hdu_alone(file, hdu, name) as alone:
                data = np.asarray(alone.data)
        data = data.astype(data.dtype.newbyteorder("="), copy=False)
    except (InputError, OutageError):
        raise
    except Exception as error:  # astropy and its decompressors raise nearly anything on damaged data
        raise input_error(name, f"{hdu.name}: cannot read its pixels: {reason(error)}") from error
    if data.shape != hdu.shape or data.dtype.kind not in "iuf":
        raise input_error(name, f"{hdu.name}: expected an image of {hdu.shape}, got {data.dtype} {data.shape}")
    return data.reshape(hdu.plane)


def amplifier_gains(header: Mapping[str, Any]) -> tuple[dict[str, float], tuple[str, ...]]:
    """
    Gains of the amplifiers A and B, in electrons a count, from a header, and remarks on what it lacks.

    An amplifier without a gain gets that of the other, for the two of a DECam CCD differ by per cents; both get 1 if
    neither has one.
    """
    known, problems = {}, {}
    for amp in "AB":
        key = f"GAIN{amp}"
        try:
            gain = parse_gain(header.get(key))
            problems[amp] = f"expected {key} in a raw image, got none"
        except ValueError as error:
            gain, problems[amp] = None, f"{key}: {error}"
        if gain is not None:
            known[amp] = gain
    taken = {amp: known.get(amp, known.get(other, 1.0)) for amp, other in ("AB", "BA")}
    remarks = tuple(f"{problems[amp]}; taken for {taken[amp]:.3g}" for amp in "AB" if amp not in known)
    return taken, remarks


def _without_bias(
    pixels: npt.NDArray[Any],
    header: Mapping[str, Any],
    trim: tuple[int, int, int, int],
    gains: Mapping[str, float],
    where: str,
) -> Float32Array:
    """
    Subtract the overscan of each amplifier, row by row, multiply by its gain, and close the step between the two.

    DECam reads each CCD through amplifiers A and B, which split FITS axis 1; which is left, and which rows hold light,
    differs between the N and S CCDs, so sections come from the header alone.
    """
    y0, y1, x0, x1 = trim
    values = np.zeros((y1 - y0, x1 - x0), np.float32)
    halves = []
    for amp in "AB":
        data, bias = section(header, f"DATASEC{amp}"), section(header, f"BIASSEC{amp}")
        if data is None or bias is None:
            raise input_error(where, f"expected DATASEC{amp} and BIASSEC{amp} in a raw image")
        if data[:2] != (y0, y1) or data[2] < x0 or data[3] > x1 or bias[3] > pixels.shape[1]:
            raise input_error(where, f"expected sections within the image and TRIMSEC, got {data}, {bias} and {trim}")
        half = values[:, data[2] - x0 : data[3] - x0]
        level = _row_levels(pixels[y0:y1, bias[2] : bias[3]])
        np.subtract(pixels[y0:y1, data[2] : data[3]], level[:, None], out=half, dtype=np.float32)
        half *= np.float32(gains[amp])
        halves.append((data[2], half))
    (_, left), (_, right) = sorted(halves, key=lambda pair: pair[0])
    # Without flat fields gains are known to per cents only, and the step would be as bright as a ghost.
    levels = float(np.median(left[::_SEAM_ROWS, -_SEAM_PX:])), float(np.median(right[::_SEAM_ROWS, :_SEAM_PX]))
    if min(levels) > 0 and abs(levels[0] / levels[1] - 1) < _MAX_STEP:
        right *= np.float32(levels[0] / levels[1])
    return values


def _row_levels(overscan: npt.NDArray[Any]) -> Float32Array:
    """Trimmed mean of each row."""
    cut = int(_TRIMMED * overscan.shape[1])
    inner = np.sort(overscan, axis=1)[:, cut : overscan.shape[1] - cut]
    levels: Float32Array = inner.mean(axis=1, dtype=np.float32)
    return levels
