"""Which HDU holds which CCD: a science exposure as its headers describe it, before any pixel is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.camera import Camera, Ccd
from cascade.core.errors import input_error
from cascade.core.exposure import HeaderFields
from cascade.inputs.fields import finite_number, header_facts, whole_number
from cascade.inputs.fits.structure import Cards, Hdu, plain_file, read_primary, read_structure

MASK_PLANES = ("MSK", "MASK")
"""EXTNAMEs of masks that go with an image in one file, as in DES files of one CCD."""

_SCIENCE = ("object", "science", "standard")  # OBSTYPE; 'standard' are fields of standard stars
_PRODUCTS = ("image", "")  # PRODTYPE; else dqmask, wtmap and the like
_RESAMPLED = ("resampled", "stacked")  # PROCTYPE of what the Community Pipeline puts onto the sky
_PLANES = re.compile(r"MSK|MASK|WGT|WEIGHT|VAR\w*|DQ|BPM", re.ASCII)  # EXTNAMEs of planes that go with an image
_WHOLE = 0.01  # by how much a whole CCD may differ from its nominal size: trims, and vendors of LSST's CCDs
_SECTION = re.compile(r"\[(\d{1,6}):(\d{1,6}),(\d{1,6}):(\d{1,6})\]", re.ASCII)
_CODES_SINCE = (3, 5, 0)  # of the Community Pipeline: its masks hold codes, and held bits before
_CCDNUM_OF_NAME = re.compile(r"_c(\d{2})_", re.ASCII)

# What to ignore in a mask; saturated stars and bleed trails are kept, for previews show them.
_BAD_CODES = (1, 2, 5)  # Community Pipeline: detector, no value, cosmic ray
_BAD_BITS = 1 | 16  # the same before version 3.5
_BADPIX_BITS = 1 | 8 | 16  # DES: BPM, BADAMP, CRAY


@dataclass(frozen=True, slots=True, eq=False)
class MaskPlane:
    """
    Where the mask of a CCD is.

    Attributes
    ----------
    file, hdu
        Its image.
    codes
        Whether its pixels hold one integer code each, rather than bits.
    bad
        Codes, or OR-ed bits, of pixels to ignore.
    """

    file: Path
    hdu: Hdu
    codes: bool
    bad: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CcdImage:
    """
    One CCD of an exposure.

    Attributes
    ----------
    ccd
        Which.
    file, hdu
        Where its pixels are.
    trim
        (y0, y1, x0, x1) of the light-sensitive pixels in the image, half-open.
    origin
        (y, x) on the whole CCD of the first of these, in pixels; not (0, 0) for a trimmed image or a cut-out.
    raw
        Whether bias and gains are still in.
    mask
        The mask that goes with it, if any.
    """

    ccd: Ccd
    file: Path
    hdu: Hdu
    trim: tuple[int, int, int, int]
    origin: tuple[float, float]
    raw: bool
    mask: MaskPlane | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FitsExposure:
    """
    A science exposure.

    Attributes
    ----------
    name
        The input as a person would name it.
    expnum, header
        What the headers say of it.
    ccds
        Its CCDs, by rising ccdnum.
    remarks
        One clause for each value of the first header that cannot be used, for zeros after the last HDU of a file, and
        for CCDs whose checksums are out of date.
    """

    name: str
    expnum: int | None
    header: HeaderFields
    ccds: tuple[CcdImage, ...]
    remarks: tuple[str, ...] = ()


@contextmanager
def open_exposure(files: Sequence[Path], name: str, camera: Camera, *, cutouts: bool = False) -> Iterator[FitsExposure]:
    """
    Read the headers of an exposure.

    Parameters
    ----------
    files : sequence of Path
        One file with all CCDs, or one file a CCD.
    name : str
        How errors call the exposure.
    camera : Camera
        The camera that it must be of.
    cutouts : bool
        Take images that are parts of a CCD, placed by the reference pixel of their WCS, too.

    Yields
    ------
    FitsExposure

    Raises
    ------
    InputError
        If a file cannot be read, it is no science exposure of this camera, or a CCD cannot be placed.
    """
    with ExitStack() as stack:
        ccds: dict[int, CcdImage] = {}
        primaries = []
        remarks: list[str] = []
        for file in files:
            where = name if len(files) == 1 else str(file)
            plain = stack.enter_context(plain_file(file, where))
            hdus = read_structure(plain, where)
            if n_zeros := plain.stat().st_size - hdus[-1].data_start - hdus[-1].padded_bytes:
                of = "" if len(files) == 1 else f" of {file.name}"
                remarks.append(f"{n_zeros} zeros after HDU {hdus[-1].index}{of}: taken for padding")
            primaries.append(_facts_header(hdus))
            _check_science(primaries[-1], camera, where)
            masks = _masks(stack, file, plain, hdus, camera)
            for image in _ccd_images(plain, hdus, camera, where, cutouts=cutouts):
                ccdnum = image.ccd.ccdnum
                if ccdnum in ccds:
                    both = f"{ccds[ccdnum].hdu.name} and {image.hdu.name}"
                    raise input_error(where, f"two images of CCD {ccdnum} ({image.ccd.detpos}): {both}")
                ccds[ccdnum] = _with_mask(image, masks.get(ccdnum))
        if not ccds:
            raise input_error(name, f"expected images of CCDs of {camera.instrument}, got none")
        facts = [header_facts(primary) for primary in primaries]
        expnums = {said.expnum for said in facts}
        if len(expnums) > 1:
            raise input_error(name, f"expected files of one exposure, got {sorted(expnums, key=str)}")
        if edited := [image.ccd.detpos for image in ccds.values() if image.hdu.is_edited]:
            few = f"{len(edited)} of {len(ccds)} CCDs, such as {edited[0]}"
            remarks.append(f"CHECKSUM of {few}: it is of an earlier header, so the data cannot be checked")
        ordered = tuple(ccds[n] for n in sorted(ccds))
        yield FitsExposure(name, expnums.pop(), facts[0].header, ordered, (*facts[0].remarks, *remarks))


def peek(file: Path, name: str) -> tuple[int | None, HeaderFields]:
    """Exposure number and fields in the first header of a file; InputError if it cannot be read."""
    facts = header_facts(read_primary(file, name))
    return facts.expnum, facts.header


def has_codes(plver: str) -> bool:
    """Whether a mask of the Community Pipeline holds codes, by its version ``PLVER``, e.g. ``V4.8.2a``."""
    numbers = [int(n) for n in re.findall(r"\d{1,4}", plver)[:3]]
    return tuple(numbers + [0] * (3 - len(numbers))) >= _CODES_SINCE


def mask_beside(file: Path) -> Path | None:
    """The ``ood`` mask beside a Community Pipeline image, if there is one."""
    name = mask_name(file.name)
    beside = None if name is None else file.with_name(name)
    return beside if beside is not None and beside.is_file() else None


def mask_name(name: str) -> str | None:
    """What the ``ood`` mask of a Community Pipeline image is called; None for other files."""
    mask = name.replace("_ooi_", "_ood_", 1)
    return None if mask == name else mask


def place(hdu: Hdu, camera: Camera, name: str) -> Ccd | None:
    """
    The CCD that an image is of, by CCDNUM and DETPOS; None for one that is not of the science CCDs.

    Raises
    ------
    InputError
        If it names none, or CCDNUM and DETPOS name two.
    """
    ccdnum = hdu.header.get("CCDNUM")
    detpos = str(hdu.header.get("DETPOS") or hdu.header.get("EXTNAME") or "").strip()
    by_number = {ccd.ccdnum: ccd for ccd in camera.ccds}
    by_name = {ccd.detpos: ccd for ccd in camera.ccds}
    named = by_name.get(detpos)
    if ccdnum is None:
        if named is None:
            raise input_error(name, f"{hdu.name}: expected CCDNUM or DETPOS to say which CCD it is, got neither")
        return named
    number = whole_number(ccdnum)
    if number is None:
        raise input_error(name, f"{hdu.name}: expected CCDNUM to be a number, got {ccdnum!r}")
    numbered = by_number.get(number)
    if named is not None and named is not numbered:
        raise input_error(name, f"{hdu.name}: CCDNUM {ccdnum} and DETPOS {detpos!r} are two CCDs")
    return numbered  # guide and focus CCDs have numbers of their own


def ccd_hdus(hdus: Iterable[Hdu]) -> list[Hdu]:
    """The images among HDUs that are no masks or weights."""
    return [
        hdu for hdu in hdus if len(hdu.plane) > 1 and not _PLANES.fullmatch(str(hdu.header.get("EXTNAME", "")).strip())
    ]


def section(header: Mapping[str, Any], key: str) -> tuple[int, int, int, int] | None:
    """A section such as ``DATASEC``, as (y0, y1, x0, x1), half-open from 0; None if there is none."""
    match = _SECTION.fullmatch(str(header.get(key, "")).replace(" ", ""))
    if match is None:
        return None
    x0, x1, y0, y1 = map(int, match.groups())
    return min(y0, y1) - 1, max(y0, y1), min(x0, x1) - 1, max(x0, x1)


def _facts_header(hdus: list[Hdu]) -> Cards:
    """The header that holds them: the first, or that of the first image where the first says nothing."""
    primary = hdus[0].header
    if "OBSTYPE" in primary or "EXPNUM" in primary or len(hdus) == 1:
        return primary
    return hdus[1].header


def _check_science(header: Mapping[str, Any], camera: Camera, name: str) -> None:
    """Refuse calibration frames, masks, weights and other cameras."""
    instrument = str(header.get("INSTRUME", "")).strip()
    if instrument and instrument.lower() != camera.instrument.lower():
        raise input_error(name, f"expected an exposure of {camera.instrument}, got one of {instrument}")
    obstype = str(header.get("OBSTYPE", "")).strip()
    if obstype and obstype.lower() not in _SCIENCE:
        raise input_error(name, f"expected an exposure of the sky, OBSTYPE 'object', got {obstype!r}")
    product = str(header.get("PRODTYPE", "")).strip()
    if product.lower() not in _PRODUCTS:
        raise input_error(name, f"expected an image, got PRODTYPE {product!r}")
    processing = str(header.get("PROCTYPE", "")).strip()
    if processing.lower() in _RESAMPLED:
        raise input_error(name, f"expected a raw or calibrated image of CCDs, got PROCTYPE {processing!r}")


def _ccd_images(file: Path, hdus: list[Hdu], camera: Camera, name: str, *, cutouts: bool) -> Iterator[CcdImage]:
    """The science CCDs in a file."""
    for hdu in ccd_hdus(hdus):
        shape = hdu.plane
        ccd = place(hdu, camera, name)
        if ccd is None:
            continue
        if len(shape) > 2:
            raise input_error(name, f"{hdu.name}: expected an image of two axes, got {hdu.shape}")
        raw = section(hdu.header, "BIASSECA") is not None and not is_whole(shape, camera)
        trim = section(hdu.header, "TRIMSEC") if raw else None
        y0, y1, x0, x1 = trim or (0, shape[0], 0, shape[1])
        if y1 > shape[0] or x1 > shape[1]:
            raise input_error(name, f"{hdu.name}: expected TRIMSEC within the image of {shape}, got {trim}")
        height, width = y1 - y0, x1 - x0
        if is_whole((height, width), camera):
            full_height, full_width = camera.ccd_shape
            # What a pipeline trims it trims evenly: the Community Pipeline one pixel a side (LTV1 = LTV2 = -1).
            origin = ((full_height - height) / 2, (full_width - width) / 2)
        elif cutouts:
            origin = _cutout_origin(hdu, ccd, camera, name)
        else:
            full = "x".join(map(str, reversed(camera.ccd_shape)))
            problem = f"expected a whole CCD of {full} pixels, got a cut-out of {width}x{height}"
            raise input_error(name, f"{hdu.name}: {problem}; cascade preview --cutouts takes it")
        yield CcdImage(ccd, file, hdu, (y0, y1, x0, x1), origin, raw)


def is_whole(shape: tuple[int, ...], camera: Camera) -> bool:
    """Whether an image is a whole CCD, give or take what pipelines trim."""
    return all(abs(side / full - 1) <= _WHOLE for side, full in zip(shape, camera.ccd_shape, strict=True))


def _cutout_origin(hdu: Hdu, ccd: Ccd, camera: Camera, name: str) -> tuple[float, float]:
    """
    Where a cut-out begins on its CCD, within some tens of pixels.

    The reference pixel of the WCS is the optical axis, which lies at (0, 0) mm on the focal plane.
    """
    axis = [finite_number(hdu.header.get(key)) for key in ("CRPIX2", "CRPIX1")]
    if axis[0] is None or axis[1] is None:
        raise input_error(name, f"{hdu.name}: expected CRPIX1 and CRPIX2 to place a cut-out, got {axis}")
    height, width = camera.ccd_shape
    y = height / 2 - ccd.y_mm / camera.pixel_mm - (axis[0] - 0.5)
    x = width / 2 - ccd.x_mm / camera.pixel_mm - (axis[1] - 0.5)
    return y, x


def _masks(stack: ExitStack, file: Path, plain: Path, hdus: list[Hdu], camera: Camera) -> dict[int, MaskPlane]:
    """The masks of the CCDs of a file: in it (DES), or in the ``ood`` file beside it (Community Pipeline)."""
    planes = [hdu for hdu in hdus if str(hdu.header.get("EXTNAME", "")).strip() in MASK_PLANES]
    if planes:
        numbers = [whole_number(hdu.header.get("CCDNUM")) or _ccdnum_of(file) for hdu in planes]
        return {n: MaskPlane(plain, hdu, False, (_BADPIX_BITS,)) for n, hdu in zip(numbers, planes, strict=True) if n}
    beside = mask_beside(file)
    if beside is None:
        return {}
    opened = stack.enter_context(plain_file(beside, str(beside)))
    mask_hdus = read_structure(opened, str(beside))
    codes = has_codes(str(mask_hdus[0].header.get("PLVER", "")))
    found = {}
    for hdu in mask_hdus:
        if len(hdu.plane) == 2 and (ccd := place(hdu, camera, str(beside))) is not None:
            found[ccd.ccdnum] = MaskPlane(opened, hdu, codes, _BAD_CODES if codes else (_BAD_BITS,))
    return found


def _ccdnum_of(file: Path) -> int | None:
    """The CCD in the name of a DES file, ``D00239652_g_c33_r2357p01_immasked.fits.fz``."""
    match = _CCDNUM_OF_NAME.search(file.name)
    return int(match[1]) if match else None


def _with_mask(image: CcdImage, mask: MaskPlane | None) -> CcdImage:
    """The image with its mask, if that is of the same size."""
    if mask is None:
        return image
    if mask.hdu.plane != image.hdu.plane:
        problem = f"expected a mask of {image.hdu.plane} for CCD {image.ccd.ccdnum}, got {mask.hdu.plane}"
        raise input_error(mask.file, f"{mask.hdu.name}: {problem}")
    return CcdImage(image.ccd, image.file, image.hdu, image.trim, image.origin, image.raw, mask)
