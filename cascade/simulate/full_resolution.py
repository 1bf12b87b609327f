"""Synthetic full-resolution exposures, as FITS files with the layouts and headers of real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cascade.camera import Camera, Ccd
from cascade.core.exposure import Float32Array
from cascade.inputs.fits.render import GREY_PER_SIGMA

Layout = Literal["instcal", "raw", "immasked"]

# Arcsec per mm on the focal plane: DECam's CD matrices hold 7.2865e-5 degrees a pixel, LSSTCam's pixels are 0.2 arcsec.
_PLATE_SCALE = {"DECam": 17.4876, "LSSTCam": 20.0}
_RADIAL = -0.005  # cubic distortion per square degree, as large as that of DECam
_MJD_EPOCH_EXPNUM = (56232.0, 144000)  # exposures of November 2012
_QUANTIZE = 4.0  # FZQVALUE of the Community Pipeline
_GAINS = (4.3, 4.1)
_BIAS = (2100.0, 1800.0)
_TRIM_PX = 1  # that the Community Pipeline takes off each side
_RAW_SHAPE = (4146, 2160)


@dataclass(frozen=True, slots=True)
class FullExposure:
    """
    Content of a full-resolution exposure.

    Attributes
    ----------
    expnum, band, ra, dec, exptime
        Header values; degrees and seconds.
    sky, noise
        Mean and standard deviation of the sky per pixel, electrons; by default those of 100 s in g.
    light
        (H, W) light above the sky on the camera's preview grid, in grey levels of a preview; None: sky only.
    seed
        Of the noise.
    """

    expnum: int
    band: str = "g"
    ra: float = 150.0
    dec: float = -30.0
    exptime: float = 90.0
    sky: float = 420.0
    noise: float = 20.0
    light: Float32Array | None = None
    seed: int = 1

    def pixels(self, ccd: Ccd, camera: Camera) -> Float32Array:
        """Pixels of a whole CCD, (FITS axis 2, FITS axis 1), in electrons."""
        rng = np.random.default_rng((self.seed, ccd.ccdnum))
        height, width = camera.ccd_shape
        image = rng.standard_normal((height, width), dtype=np.float32)
        image *= np.float32(self.noise)
        image += np.float32(self.sky)
        if self.light is not None:
            rows, _ = camera.ccd_pixel_to_preview(ccd, 0, np.arange(width) + 0.5)
            _, columns = camera.ccd_pixel_to_preview(ccd, np.arange(height) + 0.5, 0)
            inside = (
                np.clip(np.floor(p).astype(int), 0, n - 1) for p, n in zip((rows, columns), camera.shape, strict=True)
            )
            image += self.light[np.ix_(*inside)].T * np.float32(self.noise / GREY_PER_SIGMA)
        return image


def write_exposure(
    exposure: FullExposure,
    folder: Path,
    camera: Camera,
    *,
    layout: Layout = "instcal",
    ccdnums: Sequence[int] | None = None,
    compress: bool = True,
) -> list[Path]:
    """
    Write an exposure.

    Parameters
    ----------
    exposure : FullExposure
    folder : Path
        Existing output folder.
    camera : Camera
    layout : {"instcal", "raw", "immasked"}
        One trimmed float image per CCD (Community Pipeline); one 16-bit image with overscan (DECam only); one file per
        CCD with image, mask and weight (DES).
    ccdnums : sequence of int or None
        CCDs to write, in this order; None: all but the dead ones.
    compress : bool
        Rice tile compression, as in the archives.

    Returns
    -------
    list of Path
        One file, or one per CCD.
    """
    from astropy.io import fits

    if ccdnums is None:
        ccdnums = [ccd.ccdnum for ccd in camera.ccds if ccd.ccdnum not in camera.dead_ccdnums(exposure.expnum)]
    ending = ".fits.fz" if compress else ".fits"
    if layout == "immasked":
        return [_write_immasked(exposure, folder, camera, camera.ccd(n), ending) for n in ccdnums]
    kind = {"instcal": "ooi", "raw": "ori"}[layout]
    path = folder / f"c4d_121101_{exposure.expnum:06d}_{kind}_{exposure.band}_v1{ending}"
    with fits.open(path, mode="append") as file:
        file.append(fits.PrimaryHDU(header=fits.Header(_header_cards(exposure, camera))))
        file.flush()
    for ccdnum in ccdnums:
        ccd = camera.ccd(ccdnum)
        make = _raw if layout == "raw" else _instcal
        with fits.open(path, mode="append") as file:  # reopened per CCD, so that only one is in memory
            file.append(_hdu(*make(exposure, ccd, camera), compress=compress))
    return [path]


def wcs_cards(exposure: FullExposure, ccd: Ccd, camera: Camera, origin: tuple[int, int]) -> dict[str, Any]:
    """
    The WCS of a CCD image, TPV with the optical axis as reference, as the Community Pipeline writes it.

    Parameters
    ----------
    exposure : FullExposure
    ccd : Ccd
    camera : Camera
    origin : tuple of int
        (y, x) on the whole CCD of the first pixel of the image; negative where overscan comes before it.
    """
    height, width = camera.ccd_shape
    scale = _PLATE_SCALE[camera.instrument] * camera.pixel_mm / 3600
    cards = {
        "WCSAXES": 2, "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CUNIT1": "deg", "CUNIT2": "deg",
        "CRVAL1": exposure.ra, "CRVAL2": exposure.dec,
        "CRPIX1": width / 2 + 0.5 - ccd.x_mm / camera.pixel_mm - origin[1],
        "CRPIX2": height / 2 + 0.5 - ccd.y_mm / camera.pixel_mm - origin[0],
        "CD1_1": 0.0, "CD1_2": scale, "CD2_1": -scale, "CD2_2": 0.0,
    }  # fmt: skip
    for axis in (1, 2):
        terms = {0: 0.0, 1: 1.0, 2: 0.0, 4: 0.0, 5: 0.0, 6: 0.0, 7: _RADIAL, 8: 0.0, 9: _RADIAL, 10: 0.0}
        cards |= {f"PV{axis}_{n}": value for n, value in terms.items()}
    return cards


def _header_cards(exposure: FullExposure, camera: Camera) -> dict[str, Any]:
    """The relevant cards of a primary header."""
    hours = exposure.ra / 15
    mjd = _MJD_EPOCH_EXPNUM[0] + (exposure.expnum - _MJD_EPOCH_EXPNUM[1]) * 120 / 86400
    return {
        "INSTRUME": camera.instrument, "OBSTYPE": "object", "PROCTYPE": "InstCal", "PRODTYPE": "image",
        "EXPNUM": exposure.expnum, "FILTER": f"{exposure.band} DECam SDSS c0001 4720.0 1520.0", "BAND": exposure.band,
        "EXPTIME": exposure.exptime, "MJD-OBS": mjd, "PLVER": "V4.8.2",
        "TELRA": _sexagesimal(hours), "TELDEC": _sexagesimal(exposure.dec),
    }  # fmt: skip


def _sexagesimal(value: float) -> str:
    """Hours or degrees as DECam writes them, ``-07:05:09.000``."""
    thousandths = round(abs(value) * 3_600_000)
    minutes, seconds = divmod(thousandths, 60_000)
    return f"{'-' if value < 0 else ''}{minutes // 60:02d}:{minutes % 60:02d}:{seconds / 1000:06.3f}"


def _instcal(exposure: FullExposure, ccd: Ccd, camera: Camera) -> tuple[Any, dict[str, Any]]:
    """A calibrated image without its outermost pixels."""
    trim = _TRIM_PX
    image = exposure.pixels(ccd, camera)[trim:-trim, trim:-trim]
    cards = {"EXTNAME": ccd.detpos, "CCDNUM": ccd.ccdnum, "DETPOS": ccd.detpos, "LTV1": -trim, "LTV2": -trim}
    return image, cards | wcs_cards(exposure, ccd, camera, (trim, trim))


def _raw(exposure: FullExposure, ccd: Ccd, camera: Camera) -> tuple[Any, dict[str, Any]]:
    """Raw counts of DECam; the overscan of N and S CCDs lies where the headers of real raw exposures have it."""
    north = ccd.detpos.startswith("N")
    rows = (0, 4096) if north else (50, 4146)
    left, right = ("A", "B") if north else ("B", "A")
    section = f"{rows[0] + 1}:{rows[1]}]"
    cards: dict[str, Any] = {
        "EXTNAME": ccd.detpos, "CCDNUM": ccd.ccdnum, "DETPOS": ccd.detpos,
        "TRIMSEC": f"[57:2104,{section}", "DATASEC": f"[57:2104,{section}",
        f"DATASEC{left}": f"[57:1080,{section}", f"BIASSEC{left}": f"[7:56,{section}",
        f"DATASEC{right}": f"[1081:2104,{section}", f"BIASSEC{right}": f"[2105:2154,{section}",
        "GAINA": _GAINS[0], "GAINB": _GAINS[1],
    }  # fmt: skip
    rng = np.random.default_rng((exposure.seed, ccd.ccdnum, 1))
    image = rng.normal(0, 2, _RAW_SHAPE).astype(np.float32)
    light = exposure.pixels(ccd, camera)
    for amp, half, bias in ((left, slice(0, 1024), slice(0, 1080)), (right, slice(1024, 2048), slice(1080, 2160))):
        k = "AB".index(amp)
        image[:, bias] += _BIAS[k]
        # The noise of the light includes the read noise.
        image[rows[0] : rows[1], 56 + half.start : 56 + half.stop] = _BIAS[k] + light[:, half] / _GAINS[k]
    counts = np.clip(np.rint(image), 0, 65535).astype(np.uint16)
    return counts, cards | wcs_cards(exposure, ccd, camera, (-rows[0], -56))


def _write_immasked(exposure: FullExposure, folder: Path, camera: Camera, ccd: Ccd, ending: str) -> Path:
    """Write a file of one CCD: image, mask, weight."""
    from astropy.io import fits

    image = exposure.pixels(ccd, camera)
    cards = {"CCDNUM": ccd.ccdnum, "DETPOS": ccd.detpos} | wcs_cards(exposure, ccd, camera, (0, 0))
    shared = _header_cards(exposure, camera)
    mask = np.zeros(image.shape, np.int16)
    mask[:15] = mask[-15:] = 512  # EDGE
    weight = np.full(image.shape, exposure.noise**-2, np.float32)
    compress = ending.endswith(".fz")
    planes = [
        _hdu(plane, {"EXTNAME": name, **shared, **cards}, compress=compress)
        for name, plane in (("SCI", image), ("MSK", mask), ("WGT", weight))
    ]
    path = folder / f"D{exposure.expnum:08d}_{exposure.band}_c{ccd.ccdnum:02d}_r2357p01_immasked{ending}"
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(path, checksum=True)
    return path


def _hdu(image: Any, cards: dict[str, Any], *, compress: bool) -> Any:  # noqa: ANN401
    """An image HDU with checksums."""
    from astropy.io import fits

    header = fits.Header(cards)
    if not compress:
        hdu = fits.ImageHDU(image, header)
    else:
        quantize = (
            {"quantize_level": _QUANTIZE, "quantize_method": 1, "dither_seed": 1} if image.dtype.kind == "f" else {}
        )
        hdu = fits.CompImageHDU(image, header, compression_type="RICE_1", **quantize)
    hdu.add_checksum()
    return hdu
