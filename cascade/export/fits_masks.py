"""Masks as FITS: separate planes, LSST-style planes, or an additional bit in a copy of a pipeline's mask."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera, Ccd
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, input_error
from cascade.core.exposure import BoolArray, UInt8Array
from cascade.export.ccd_masks import ccd_mask, touched_ccds
from cascade.export.ghosted import (
    GhostedExposure,
    Names,
    SkyHeaders,
    Written,
    fits_text,
    ghosted_exposures,
    header_cards,
)
from cascade.inputs.fields import header_facts
from cascade.inputs.fits.ccds import MASK_PLANES, MaskPlane, has_codes, is_whole, place
from cascade.inputs.fits.pixels import read_mask
from cascade.inputs.fits.reader import is_mask_name
from cascade.inputs.fits.sky_patches import SkyPatch
from cascade.inputs.fits.structure import BLOCK, Hdu, hdu_alone, plain_file, read_structure
from cascade.runs.run import Run
from cascade.storage.atomic import written_aside

GHOST_BIT = 32768
"""The one bit of 16 that DES BADPIX planes do not use: 1 to 16384 are in use."""

GHOST_CODE = 9
"""The first code that masks of the Community Pipeline do not use."""

_CARD_LENGTH = 80
_TILE_ROWS = 64
_CHUNK = 2**22
_ALL = sum(class_.bit for class_ in Artifact)
_LSST_STANDARD = (
    "BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT", "NO_DATA",
)  # fmt: skip
LSST_PLANES: Mapping[str, int] = {
    "GHOST": _ALL,
    **{f"GHOST_{class_.name}": class_.bit for class_ in Artifact},
}
"""Names of the mask planes, and the classes of artifact in each, as `Artifact.bit` flags."""


@dataclass(frozen=True, slots=True)
class MaskFormat:
    """
    The meaning of a mask's pixels.

    Attributes
    ----------
    suffix
        Suffix of the file names.
    bits
        For each plane, the value it adds to a pixel and the classes in it, as `Artifact.bit` flags.
    cards
        Header cards that document them.
    """

    suffix: str
    bits: tuple[tuple[int, int], ...]
    cards: dict[str, Any]

    def values(self, plane: UInt8Array, camera: Camera, ccd: Ccd) -> npt.NDArray[np.int32]:
        """The pixels of the mask of a whole CCD."""
        values = np.zeros(camera.ccd_shape, np.int32)
        for value, classes in self.bits:
            if (plane & classes).any():
                values[ccd_mask((plane & classes) > 0, camera, ccd, camera.ccd_shape)] |= value
        return values


def bit_format(bit: int) -> MaskFormat:
    """
    All classes as one bit.

    Raises
    ------
    ConfigError
        If `bit` is no power of two below 2**31.
    """
    if not 0 < bit < 2**31 or bit & (bit - 1):
        msg = f"bit: expected a power of two below 2**31, got {bit}"
        raise ConfigError(msg)
    return MaskFormat("ghost", ((bit, _ALL),), {"GHOSTBIT": (bit, "value of ghost pixels")})


def lsst_format() -> MaskFormat:
    """Named planes, the bit of each in a card ``MP_NAME``, as in LSST's masks."""
    names = [*_LSST_STANDARD, *LSST_PLANES]
    cards = {f"MP_{name}" if len(name) < 6 else f"HIERARCH MP_{name}": bit for bit, name in enumerate(names)}
    return MaskFormat("mask", tuple((1 << names.index(name), classes) for name, classes in LSST_PLANES.items()), cards)


def write_masks(run: Run, out: Path, format: MaskFormat, headers: SkyHeaders) -> Written:
    """
    Write one file for each exposure with artifacts, with a tile-compressed mask for each CCD that they touch.

    Parameters
    ----------
    run : Run
    out : Path
        Folder; must exist.
    format : MaskFormat
    headers : SkyHeaders
        Source of the masks' WCS, where known.

    Returns
    -------
    Written
    """
    from astropy.io import fits

    camera = Camera.load(run.config.camera)
    n_files = n_bytes = 0
    for exposure in ghosted_exposures(run):
        plane = exposure.plane()
        patches = headers.patches(exposure.row)
        cards = header_cards(run, exposure) | format.cards
        with written_aside(out / f"{exposure.name}_{format.suffix}.fits.fz") as aside:
            with aside.open("wb") as file:
                file.write(_hdu_bytes(fits.PrimaryHDU(header=_header(cards))))
                for ccd in touched_ccds(plane > 0, camera):
                    place_cards = {"EXTNAME": ccd.detpos, "CCDNUM": ccd.ccdnum, "DETPOS": ccd.detpos, **format.cards}
                    header = _header(place_cards)
                    header.update(_wcs_header(patches.get(ccd.ccdnum)))
                    file.write(_hdu_bytes(_compressed(format.values(plane, camera, ccd), header)))
            n_bytes += aside.stat().st_size
        n_files += 1
    return Written(n_files, n_files, n_bytes)


def write_onto(run: Run, out: Path, masks: Sequence[str], *, bit: int = GHOST_BIT, code: int = GHOST_CODE) -> Written:
    """
    Copy masks of a pipeline and mark the artifacts in the copies; the originals are not modified.

    Parameters
    ----------
    run : Run
    out : Path
        Folder; must exist and not be that of the masks.
    masks : sequence of str
        FITS files with masks: ``ood`` of the Community Pipeline, BADPIX planes (``MSK``) of DES. Its images and weights
        are skipped.
    bit : int
        Bit to set where masks hold bits.
    code : int
        Code for pixels without another, where masks hold codes (Community Pipeline from 3.5 on, by PLVER).

    Returns
    -------
    Written

    Raises
    ------
    InputError
        If a mask cannot be read or would be overwritten.
    ConfigError
        If `bit` is not a power of two, or `code` not positive.
    """
    bit_format(bit)
    if not 0 < code < 2**15:
        msg = f"code: expected a number from 1 to {2**15 - 1}, got {code}"
        raise ConfigError(msg)
    camera = Camera.load(run.config.camera)
    by_expnum: dict[int, list[Path]] = {}
    for mask in map(Path, filter(is_mask_name, masks)):
        if (expnum := _expnum_of(mask)) is not None:
            by_expnum.setdefault(expnum, []).append(mask)
    names = Names()
    n_exposures = n_files = n_bytes = n_without = 0
    for exposure in ghosted_exposures(run):
        files = by_expnum.get(exposure.row["expnum"], [])
        n_without += not files
        n_exposures += bool(files)
        for file in files:
            name = names.unique(file.name.partition(".fits")[0] + "_ghost")
            target = out / f"{name}.fits{file.name.partition('.fits')[2].removesuffix('.gz')}"
            if target.exists() and target.samefile(file):
                raise input_error(file, "expected another output folder than that of the original masks")
            with written_aside(target) as aside:
                _copy_marked(file, aside, exposure, camera, _Marks(bit, code, header_cards(run, exposure)))
                n_bytes += aside.stat().st_size
            n_files += 1
    return Written(n_exposures, n_files, n_bytes, {"without a mask to copy": n_without})


def _expnum_of(file: Path) -> int | None:
    """Exposure number of a mask, in any of its headers."""
    with plain_file(file, str(file)) as plain:
        numbers = [header_facts(hdu.header).expnum for hdu in read_structure(plain, str(file))]
    return next((number for number in numbers if number is not None), None)


@dataclass(frozen=True, slots=True)
class _Marks:
    """The marks written into a copy."""

    bit: int
    code: int
    cards: dict[str, Any]


def _copy_marked(source: Path, target: Path, exposure: GhostedExposure, camera: Camera, marks: _Marks) -> None:
    """Copy a file HDU by HDU; masks of affected CCDs are marked, everything else is copied byte by byte."""
    with plain_file(source, str(source)) as plain, plain.open("rb") as old, target.open("wb") as new:
        hdus = read_structure(plain, str(source))
        codes = has_codes(str(hdus[0].header.get("PLVER", "")))
        planes = {hdu.index for hdu in _mask_hdus(hdus)}
        # DES names its planes; its masks hold bits, whatever the version of the pipeline.
        codes = codes and not any(str(hdu.header.get("EXTNAME", "")).strip() in MASK_PLANES for hdu in hdus)
        marked = exposure.plane() > 0
        touched = {ccd.ccdnum for ccd in touched_ccds(marked, camera)}
        for hdu in hdus:
            ccd = place(hdu, camera, str(source)) if hdu.index in planes else None
            if ccd is None or ccd.ccdnum not in touched:
                _copy_bytes(old, new, hdu)
                continue
            drawn = _drawn(plain, hdu, marked, camera, ccd)
            values = read_mask(MaskPlane(plain, hdu, codes, ()), str(source)).astype(np.int32)
            if codes:
                values[drawn & (values == 0)] = marks.code
            else:
                values[drawn] |= marks.bit
            new.write(_marked_hdu(plain, hdu, values, marks, codes=codes))


def _mask_hdus(hdus: Iterable[Hdu]) -> list[Hdu]:
    """The masks in a file: the HDUs named as masks, or else all images."""
    images = [hdu for hdu in hdus if len(hdu.plane) == 2]
    named = [hdu for hdu in images if str(hdu.header.get("EXTNAME", "")).strip() in MASK_PLANES]
    return named or images


def _drawn(file: Path, hdu: Hdu, marked: BoolArray, camera: Camera, ccd: Ccd) -> BoolArray:
    """The artifacts on the image of a mask."""
    height, width = hdu.plane
    if not is_whole((height, width), camera):
        raise input_error(file, f"{hdu.name}: expected the mask of a whole CCD, got {width}x{height} pixels")
    origin = ((camera.ccd_shape[0] - height) / 2, (camera.ccd_shape[1] - width) / 2)
    return ccd_mask(marked, camera, ccd, (height, width), origin)


def _marked_hdu(file: Path, hdu: Hdu, values: npt.NDArray[np.int32], marks: _Marks, *, codes: bool) -> bytes:
    """The bytes of an HDU with new pixels and a header that documents the change."""
    from astropy.io import fits

    with hdu_alone(file, hdu, str(file)) as alone:
        header = alone.header.copy()
        for key in ("CHECKSUM", "DATASUM", "BZERO", "BSCALE", "BLANK"):
            header.remove(key, ignore_missing=True)
        meaning = ("GHOSTCOD", marks.code) if codes else ("GHOSTBIT", marks.bit)
        header.update(_header({meaning[0]: (meaning[1], "value of ghost pixels"), **marks.cards}))
        if hdu.is_compressed:
            return _hdu_bytes(_compressed(values, header))
        return _hdu_bytes((fits.PrimaryHDU if hdu.index == 0 else fits.ImageHDU)(values, header))


def _compressed(values: npt.NDArray[np.int32], header: Any) -> Any:  # noqa: ANN401
    """A mask, tile-compressed; of a plane that is nearly all zeros gzip leaves a tenth of what Rice does."""
    from astropy.io import fits

    tile = (min(_TILE_ROWS, values.shape[0]), values.shape[1])
    return fits.CompImageHDU(values, header, compression_type="GZIP_1", tile_shape=tile)


def _header(cards: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """A header of the cards with a value."""
    from astropy.io import fits

    header = fits.Header()
    for key, card in cards.items():
        value, comment = card if isinstance(card, tuple) else (card, "")
        if value is not None:
            value = fits_text(value)
            header[key] = value, comment if _fits_beside(value, comment) else ""
    return header


def _fits_beside(value: Any, comment: str) -> bool:  # noqa: ANN401
    """Whether a comment has its place in the card of a value; a longer one would be cut off."""
    n_value = len(value.replace("'", "''")) + 2 if isinstance(value, str) else 20
    return 10 + max(n_value, 20) + 3 + len(comment) <= _CARD_LENGTH


def _wcs_header(patch: SkyPatch | None) -> Any:  # noqa: ANN401
    """The WCS of a CCD for its full image."""
    from astropy.io import fits

    if patch is None:
        return fits.Header()
    header = fits.Header.fromstring(patch.cards, sep="\n")
    for key, shift in (("CRPIX1", patch.x), ("CRPIX2", patch.y)):
        if key in header:
            header[key] += shift
    return header


def _hdu_bytes(hdu: Any) -> bytes:  # noqa: ANN401
    """The bytes of one HDU, with checksums."""
    from astropy.io import fits

    stream = io.BytesIO()
    if isinstance(hdu, fits.PrimaryHDU):
        hdu.writeto(stream, checksum=True)
        return stream.getvalue()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(stream, checksum=True)
    return stream.getvalue()[BLOCK:]  # the empty primary is one block


def _copy_bytes(old: IO[bytes], new: IO[bytes], hdu: Hdu) -> None:
    """Copy an HDU unchanged."""
    old.seek(hdu.start)
    length = hdu.data_start - hdu.start + hdu.padded_bytes
    while length and (chunk := old.read(min(length, _CHUNK))):
        new.write(chunk)
        length -= len(chunk)
