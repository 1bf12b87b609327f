"""Full-size FITS exposures of few CCDs for the tests, and ways to spoil them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from cascade.camera import Camera
from cascade.core.exposure import Source
from cascade.inputs.fits.ccds import open_exposure
from cascade.inputs.fits.entry import Entry
from cascade.inputs.fits.render import Preview, render
from cascade.simulate.full_resolution import FullExposure, write_exposure

DECAM = Camera.decam()


@dataclass(frozen=True)
class DeadlyReader:
    """Exposures by name, without files; the process that reads one called ``deadly`` dies."""

    names: tuple[str, ...]

    def source(self, index: int) -> Source:
        return Source(self.names[index])

    def part(self, start: int, stop: int) -> DeadlyReader:
        return DeadlyReader(self.names[start:stop])

    def entry(self, index: int) -> Entry:
        if self.names[index] == "deadly":
            os._exit(1)
        return Entry(self.source(index), np.zeros((400, 400), np.uint8), 1.0, 1, (), ())


def night(
    folder: Path, expnum: int = 700001, *, ccdnums=(28, 33), layout="instcal", compress=False, **header
) -> list[Path]:
    """The files of one exposure."""
    folder.mkdir(parents=True, exist_ok=True)
    exposure = FullExposure(expnum, **header)
    return write_exposure(exposure, folder, DECAM, layout=layout, ccdnums=ccdnums, compress=compress)


def preview_of(files: list[Path] | Path, camera: Camera = DECAM, **options) -> Preview:
    files = [files] if isinstance(files, Path) else files
    with open_exposure(files, files[0].name, camera, **options) as exposure:
        return render(exposure, camera)


def change(path: Path, hdu: int, **cards) -> None:
    """Set cards of an HDU, or delete those that are None; the pixels stay, and checksums are not renewed."""
    with fits.open(path, mode="update", disable_image_compression=True) as file:
        for key, value in cards.items():
            if value is None:
                file[hdu].header.remove(key, ignore_missing=True)
            else:
                file[hdu].header[key] = value


def small_fits(path: Path, data: np.ndarray | None = None, **cards) -> Path:
    """A FITS file with one small image."""
    hdu = fits.ImageHDU(np.zeros((10, 12), np.float32) if data is None else data, fits.Header(cards))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    return path
