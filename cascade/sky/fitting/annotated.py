"""Annotated exposures whose pointing is known: what people drew, and what the stars can make."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera, night_of
from cascade.core.artifact import Artifact
from cascade.core.errors import InputError
from cascade.core.exposure import BoolArray
from cascade.core.via.read import read_via
from cascade.core.via.region import Region
from cascade.optics.bank import OpticsBank
from cascade.sky.catalogue import BrightStars
from cascade.sky.ghosts import BAND_ORDER, Ghosts, possible_ghosts
from cascade.sky.nearby import NearbyStars
from cascade.sky.pointing import Pointing

Floats = npt.NDArray[np.float64]

EXPOSURES_FILE = "sky/annotated_exposures.csv"
REGIONS_FILE = "des_annotations/annotations_full.json"

_EXPNUM_IN_NAME = re.compile(r"D(\d{8})")


@dataclass(frozen=True, eq=False)
class Annotated:
    """
    An annotated exposure.

    Attributes
    ----------
    expnum
    night
        YYYYMMDD of the evening; folds never divide a night.
    nearby
        The stars around its pointing.
    ghosts
        What they can make.
    regions
        What people drew.
    """

    expnum: int
    night: int
    nearby: NearbyStars
    ghosts: Ghosts
    regions: tuple[Region, ...]

    @cached_property
    def drawn(self) -> list[tuple[Artifact, BoolArray]]:
        """Class and (400, 400) mask of each region."""
        return [(region.artifact, region.mask()) for region in self.regions]

    def rings(self) -> list[tuple[Artifact, BoolArray]]:
        """The Bright and Faint ones."""
        return [(artifact, mask) for artifact, mask in self.drawn if artifact is not Artifact.RAYS]

    def ccds(self, *classes: Artifact, min_area: float = 0.05) -> BoolArray:
        """(62,) whether regions of some classes cover more than a share of each CCD."""
        masks = [mask for artifact, mask in self.drawn if artifact in classes]
        return covered(np.any(masks, axis=0), min_area) if masks else np.zeros(len(Camera.decam().ccds), bool)

    @cached_property
    def overlaps(self) -> Floats:
        """(ghosts, rings) intersection over union."""
        rings = np.array([mask.ravel() for _, mask in self.rings()], np.float32).reshape(-1, self.n_pixels)
        ghosts = np.array([self.ghosts.mask(n).ravel() for n in range(len(self.ghosts))], np.float32)
        both = ghosts.reshape(-1, self.n_pixels) @ rings.T
        either = ghosts.reshape(-1, self.n_pixels).sum(axis=1)[:, None] + rings.sum(axis=1) - both
        return np.asarray(both / np.maximum(either, 1), np.float64)

    @property
    def n_pixels(self) -> int:
        """Of a preview."""
        return Camera.decam().labels.size


def covered(mask: BoolArray, min_area: float = 0.05) -> BoolArray:
    """(62,) whether a mask covers more than a share of each CCD's pixels on the preview."""
    camera = Camera.decam()
    return np.asarray((camera.count(mask) > min_area * camera.areas())[[ccd.ccdnum for ccd in camera.ccds]])


def read_annotated(data: Path, bank: OpticsBank, stars: BrightStars) -> list[Annotated]:
    """
    Read the annotated exposures whose pointing is exact.

    Parameters
    ----------
    data : Path
        Folder that holds `EXPOSURES_FILE` (columns expnum, ra, dec, accuracy, band, mjd) and `REGIONS_FILE` (VIA).
    bank : OpticsBank
    stars : BrightStars

    Raises
    ------
    InputError
        If a file is missing or damaged, or no exposure of the table is annotated.
    """
    regions = {}
    for name, drawn in read_via(data / REGIONS_FILE).items():
        found = _EXPNUM_IN_NAME.search(name)
        if found:
            regions[int(found[1])] = drawn
    camera, exposures = Camera.decam(), []
    try:
        with (data / EXPOSURES_FILE).open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["accuracy"] == "exact" and row["band"] in BAND_ORDER]
    except (OSError, KeyError) as error:
        msg = f"{data / EXPOSURES_FILE}: expected a table of pointings, got {error!r}"
        raise InputError(msg) from error
    for row in rows:
        expnum = int(row["expnum"])
        if expnum in regions:
            pointing = Pointing(float(row["ra"]), float(row["dec"]), row["band"], float(row["mjd"]))
            nearby = NearbyStars.of(pointing, stars)
            night = night_of(pointing.mjd_obs, camera)
            number = 0 if night is None else int(night.strftime("%Y%m%d"))
            exposures.append(Annotated(expnum, number, nearby, possible_ghosts(nearby, bank), regions[expnum]))
    if not exposures:
        msg = f"{data / EXPOSURES_FILE}: expected pointings of annotated exposures, got none of {len(regions)}"
        raise InputError(msg)
    return exposures
