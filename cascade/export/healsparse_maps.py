"""Sky maps of a run: the number of exposures of each pixel, and the fraction of them with an artifact there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from cascade.camera import Camera
from cascade.core.errors import StoreError
from cascade.core.exposure import UInt8Array
from cascade.export.ccd_masks import sampled_mask, touched_ccds
from cascade.export.ghosted import Names, Patches, SkyHeaders, Written, check_complete, fits_text
from cascade.inputs.fits.sky_patches import SkyPatch
from cascade.runs.run import Run
from cascade.storage.atomic import written_aside

NSIDE = 32768
"""Resolution of the maps, 6.4 arcsec, that of decasu's survey property maps."""

NSIDE_COVERAGE = 32

_DEGREE = 4  # of the polynomial that maps the sky back to a CCD; TPV is cubic
_GRID = 12  # fitted positions along each axis
_UNKNOWN_BAND = "unknown"
_ODD = re.compile(r"[^\w.-]", re.ASCII)  # characters that a band may contain, but not the name of a file

Pixels = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def write_maps(run: Run, out: Path, headers: SkyHeaders, *, nside: int = NSIDE) -> Written:
    """
    Write ``exposures_BAND.hsp`` and ``ghosted_BAND.hsp`` for each band.

    One band is in memory at a time, four bytes for each pixel and each of its two maps: 2.4 MB a square degree.

    Parameters
    ----------
    run : Run
        Complete; exposures that failed, and those without a WCS, are omitted.
    out : Path
        Folder; must exist.
    headers : SkyHeaders
    nside : int
        Resolution.

    Returns
    -------
    Written
    """
    import healsparse

    camera = Camera.load(run.config.camera)
    check_complete(run)
    masks = run.masks
    counts = run.summary().counts
    bands = {band or _UNKNOWN_BAND for part in run.parts("exposures") for band in part["band"].unique().to_pylist()}
    names = Names()
    n_exposures = n_files = n_bytes = 0
    for band in sorted(bands):
        seen = healsparse.HealSparseMap.make_empty(NSIDE_COVERAGE, nside, np.int32, sentinel=0)
        ghosted = healsparse.HealSparseMap.make_empty(NSIDE_COVERAGE, nside, np.int32, sentinel=0)
        for row in _rows_of(run, band):
            if not (patches := headers.patches(row)):
                continue
            n_exposures += 1
            plane = np.asarray(masks[row["exposure"]], np.uint8) if row["status"] == "ghosted" else None
            looked, marked = exposure_pixels(plane, camera, patches, nside)
            _add(seen, looked)
            _add(ghosted, marked)
        places = seen.valid_pixels
        if not len(places):
            continue
        fraction = healsparse.HealSparseMap.make_empty(NSIDE_COVERAGE, nside, np.float32)
        share = ghosted.get_values_pix(places) / seen.get_values_pix(places)
        fraction.update_values_pix(places, share.astype(np.float32))
        file_name = names.unique(_ODD.sub("_", band))
        for name, map_ in (("exposures", seen), ("ghosted", fraction)):
            map_.metadata = _metadata(run, band)
            with written_aside(out / f"{name}_{file_name}.hsp") as aside:
                map_.write(str(aside), clobber=True)
                n_bytes += aside.stat().st_size
            n_files += 1
    if not n_files:
        msg = f"{run.path}: expected exposures with a WCS, got none; name their FITS files with --fits"
        raise StoreError(msg)
    return Written(n_exposures, n_files, n_bytes, {"without a WCS": counts.n_exposures - counts.n_failed - n_exposures})


def exposure_pixels(plane: UInt8Array | None, camera: Camera, patches: Patches, nside: int) -> tuple[Pixels, Pixels]:
    """
    The HEALPix pixels (nested) that an exposure covers, and those of them with an artifact.

    Parameters
    ----------
    plane : ndarray of uint8, shape (H, W), or None
        Mask plane; None: no artifact.
    camera : Camera
    patches : mapping of int to SkyPatch
        WCS by ccdnum.
    nside : int

    Returns
    -------
    tuple of ndarray of int64
    """
    import hpgeom

    mask = np.zeros(camera.shape, bool) if plane is None else plane > 0
    touched = {ccd.ccdnum for ccd in touched_ccds(mask, camera)}
    looked, marked = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    height, width = camera.ccd_shape
    for ccd in camera.ccds:
        if ccd.ccdnum not in patches:
            continue
        patch = patches[ccd.ccdnum]
        ra, dec = patch.to_sky([0, 0, height, height], [0, width, width, 0])
        pixels = np.asarray(hpgeom.query_polygon(nside, ra, dec, nest=True), np.int64)
        looked.append(pixels)
        if ccd.ccdnum in touched:
            at_ra, at_dec = hpgeom.pixel_to_angle(nside, pixels, nest=True)
            y, x = _to_ccd(patch, camera, at_ra, at_dec)
            marked.append(pixels[sampled_mask(mask, *camera.ccd_pixel_to_preview(ccd, y, x))])
    return np.unique(np.concatenate(looked)), np.unique(np.concatenate(marked))


def _to_ccd(patch: SkyPatch, camera: Camera, ra: FloatArray, dec: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Map the sky back to (y, x) of a CCD: a polynomial fitted to its WCS, good to a hundredth of a pixel."""
    height, width = camera.ccd_shape
    y, x = (axis.ravel() for axis in np.meshgrid(np.linspace(0, height, _GRID), np.linspace(0, width, _GRID)))
    grid_ra, grid_dec = patch.to_sky(y, x)
    centre = patch.to_sky(height / 2, width / 2)
    terms = _terms(*_gnomonic(grid_ra, grid_dec, centre))
    coefficients, *_ = np.linalg.lstsq(terms, np.stack([y, x], axis=1), rcond=None)
    at = _terms(*_gnomonic(ra, dec, centre)) @ coefficients
    return at[:, 0], at[:, 1]


def _gnomonic(ra: FloatArray, dec: FloatArray, centre: tuple[Any, Any]) -> tuple[FloatArray, FloatArray]:
    """Tangent-plane coordinates in units of a tenth of a degree, so that powers of them stay near one."""
    delta = np.deg2rad(ra - centre[0])
    dec, dec_0 = np.deg2rad(dec), np.deg2rad(centre[1])
    cosine = np.sin(dec_0) * np.sin(dec) + np.cos(dec_0) * np.cos(dec) * np.cos(delta)
    xi = np.cos(dec) * np.sin(delta) / cosine
    eta = (np.cos(dec_0) * np.sin(dec) - np.sin(dec_0) * np.cos(dec) * np.cos(delta)) / cosine
    return np.rad2deg(xi) * 10, np.rad2deg(eta) * 10


def _terms(u: FloatArray, v: FloatArray) -> FloatArray:
    """Powers of two coordinates up to the degree, one row per position."""
    powers = [(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    return np.stack([u**i * v**j for i, j in powers], axis=1)


def _rows_of(run: Run, band: str) -> Iterator[dict[str, Any]]:
    """Rows of the exposures of a band that did not fail."""
    for part in run.parts("exposures"):
        bands = pc.if_else(pc.equal(pc.fill_null(part["band"], ""), ""), _UNKNOWN_BAND, part["band"])
        yield from part.filter(pc.and_(pc.equal(bands, band), pc.not_equal(part["status"], "failed"))).to_pylist()


def _add(map_: Any, pixels: Pixels) -> None:  # noqa: ANN401
    """Count pixels."""
    if len(pixels):
        map_.update_values_pix(pixels, np.ones(len(pixels), np.int32), operation="add")


def _metadata(run: Run, band: str) -> dict[str, Any]:
    """Provenance metadata of a map."""
    segment = run.config.segment
    metadata = {"BAND": band, "GHMODEL": segment.name if segment else "", "CAMERA": run.config.camera}
    return {key: fits_text(value) for key, value in metadata.items()}
