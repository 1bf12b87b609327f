"""FITS exposures: one file with all CCDs, or one file a CCD; the preview is made as it is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import pyarrow as pa

from cascade.camera import Camera
from cascade.core.errors import input_error, printable
from cascade.core.exposure import Exposure, HeaderFields, Source, UInt8Array
from cascade.inputs.base import ListedReader, Row
from cascade.inputs.fits.ccds import open_exposure, peek
from cascade.inputs.fits.entry import Entry
from cascade.inputs.fits.grouping import Groups, group_by_header
from cascade.inputs.fits.render import render
from cascade.inputs.fits.sky_patches import sky_patch
from cascade.inputs.fits.structure import require_fits_extra
from cascade.inputs.images import matches, walk
from cascade.storage import is_url

logger = getLogger(__name__)

_FITS = re.compile(r".+\.(fits|fit|fits\.fz|fits\.gz)", re.ASCII | re.IGNORECASE)
# The Community Pipeline names its products by three letters; ori and ooi are images, ood masks, oow weights, and so on.
_PRODUCT = re.compile(r"c4d_\d{6}_\d{6}_([a-z]{3})", re.ASCII)
# What DES makes of an exposure beside the image, D00890123_z_c28_r1p01_bkg.fits.fz.
_DES_PRODUCT = re.compile(
    r"_(bkg|nullweight|nwgint|segmap|wmap|weight|wgt|msk|mask|piff\w*|psf\w*|[\w-]*cat)\.(fits|fit)(\.\w+)?$",
    re.ASCII | re.IGNORECASE,
)
_IMAGES = ("ori", "ooi")
_MASK = "ood"
_CP_MASK = "ood, a mask"
_RESAMPLED = re.compile("o[ps][a-z]")
_IMMASKED = re.compile(
    r"(?P<start>D(?P<expnum>\d{8})_[a-zA-Z]+_c)\d{2}(?P<end>_r\w+_immasked\.fits(\.fz|\.gz)?)", re.ASCII
)


@dataclass(frozen=True, slots=True, eq=False)
class FitsReader(ListedReader):
    """
    One FITS exposure a row: ``name`` as a person would write it, ``files`` the files that hold its CCDs.

    Attributes
    ----------
    root
        Folder at which relative names start.
    camera
        Name of the camera of all of them.
    cutouts
        Whether parts of CCDs are taken too.
    """

    root: Path
    camera: str
    cutouts: bool

    def path(self, row: Row) -> str:
        """The file, or a pattern of the files of a set."""
        return printable(os.fsdecode(row["name"]))

    def pixels(self, row: Row, path: str) -> UInt8Array:
        """Make the preview."""
        return self._entry(row, path).image

    def read(self, index: int) -> Exposure:
        """Make the preview of one exposure; its headers give its fields."""
        entry = self.entry(index)
        return Exposure(entry.source, entry.image)

    def entry(self, index: int) -> Entry:
        """
        Make the preview of one exposure, with what a store of previews keeps of it.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        row = self._row(index)
        return self._entry(row, self.path(row))

    def peek(self, index: int) -> Source:
        """
        Read the first header of an exposure.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        row = self._row(index)
        path = self.path(row)
        expnum, header = peek(self._files(row)[0], path)
        return self._with_header(row, expnum, header)

    def n_bytes(self, index: int) -> int:
        """Size of the files of an exposure."""
        return sum(file.stat().st_size for file in self.files(index) if file.is_file())

    def _entry(self, row: Row, path: str) -> Entry:
        """Preview, header and WCS of a row."""
        camera = Camera.load(self.camera)
        with open_exposure(self._files(row), path, camera, cutouts=self.cutouts) as exposure:
            made = render(exposure, camera)
            patches = tuple(patch for image in exposure.ccds if (patch := sky_patch(image)) is not None)
            source = self._with_header(row, exposure.expnum, exposure.header)
        return Entry(source, made.image, made.noise, made.n_ccds, made.remarks, patches)

    def _with_header(self, row: Row, expnum: int | None, header: HeaderFields) -> Source:
        """The source with what the header says; the name gives the expnum where the header has none."""
        listed = self._source(row)
        return Source(listed.path, listed.expnum if expnum is None else expnum, header)

    def files(self, index: int) -> list[Path]:
        """The files that hold the CCDs of an exposure."""
        return self._files(self._row(index))

    def _files(self, row: Row) -> list[Path]:
        """The files of a row."""
        return [self.root / os.fsdecode(file) for file in row["files"]]


def open_fits(names: Sequence[str], *, camera: str, cutouts: bool = False) -> FitsReader:
    """
    List FITS exposures; of each file the first header is read.

    Parameters
    ----------
    names : sequence of str
        Files. Masks, weights, backgrounds and other products are left out, and a warning says how many; files of one
        CCD each are grouped into exposures, see `group_by_header`.
    camera : str
        Name of the camera, see `Camera.load`.
    cutouts : bool
        Take images that are parts of a CCD too.

    Raises
    ------
    InputError
        If only masks and weights are left, or the packages that FITS needs are not installed.
    """
    groups = group_by_header(named_groups(names, camera), Camera.load(camera))
    return FitsReader(record_groups(groups), Path.cwd(), camera, cutouts)


def named_groups(names: Sequence[str], camera: str) -> Groups:
    """
    Group FITS files into exposures by their names.

    Parameters
    ----------
    names : sequence of str
        Paths; see `open_fits` for what is left out and what goes together.
    camera : str
        Name of the camera, which must be one, see `Camera.load`.

    Returns
    -------
    mapping
        Exposure number, if the name says it, and files of each exposure.

    Raises
    ------
    InputError
        If only masks and weights are left, or the packages that FITS needs are not installed.
    """
    require_fits_extra()
    Camera.load(camera)
    groups: dict[str, tuple[int | None, list[str]]] = {}
    others: list[str] = []
    for name in names:
        if not is_exposure_name(name):
            others.append(name)
            continue
        match = _IMMASKED.fullmatch(Path(name).name)
        if match is None:
            groups.setdefault(name, (None, [name]))
        else:
            key = str(Path(name).with_name(f"{match['start']}*{match['end']}"))
            groups.setdefault(key, (int(match["expnum"]), []))[1].append(name)
    if not groups:
        expected = "expected FITS images of CCDs (of the Community Pipeline ori or ooi)"
        raise input_error(names[0], f"{expected}, got {_product(names[0])}")
    left_out: dict[str, list[str]] = {}
    for name in others:
        if (what := _product(name)) != _CP_MASK:  # which goes with the image beside it
            left_out.setdefault(what, []).append(name)
    for what, some in left_out.items():
        logger.warning(
            "FITS: left out %d of %d files: %s by their names, such as %s",
            len(some),
            len(names),
            what,
            printable(some[0]),
        )
    return groups


def _product(name: str) -> str:
    """What a file holds that is no image of CCDs, by its name."""
    product = _PRODUCT.match(Path(name).name)
    if product is None:
        return "a mask, weight, background or catalogue"
    if product[1] == _MASK:
        return _CP_MASK
    if _RESAMPLED.fullmatch(product[1]):
        return f"{product[1]}, resampled or stacked onto the sky, which shows no CCDs"
    return f"{product[1]} of the Community Pipeline"


def record_groups(groups: Groups) -> pa.RecordBatch:
    """The rows of `FitsReader`, of the exposure number, if known, and the files of each exposure by its name."""
    return pa.record_batch(
        {
            "name": pa.array([os.fsencode(name) for name in groups], pa.large_binary()),
            "expnum": pa.array([expnum for expnum, _ in groups.values()], pa.int64()),
            "files": pa.array(
                [[os.fsencode(file) for file in files] for _, files in groups.values()], pa.list_(pa.large_binary())
            ),
        }
    )


def is_fits_name(name: str) -> bool:
    """Whether a name ends like a FITS file."""
    return _FITS.fullmatch(Path(name).name) is not None and not Path(name).name.startswith(".")


def is_exposure_name(name: str) -> bool:
    """Whether a FITS file may hold images, by its name."""
    product = _PRODUCT.match(Path(name).name)
    return is_fits_name(name) and not _DES_PRODUCT.search(name) and (product is None or product[1] in _IMAGES)


def is_mask_name(name: str) -> bool:
    """Whether a FITS file may hold masks, by its name."""
    product = _PRODUCT.match(Path(name).name)
    return product is None or product[1] == _MASK


def fits_names(names: Iterable[str]) -> list[str]:
    """The FITS files among names, sorted."""
    return sorted(name for name in names if is_fits_name(name))


def find_fits(inputs: Sequence[str | os.PathLike[str]]) -> list[str]:
    """
    FITS files: those named, those in folders and below, and those that patterns match.

    Raises
    ------
    InputError
        If an input is missing, holds no FITS file or lies on an object store.
    """
    found: list[str] = []
    for name in (os.fspath(item) for item in inputs):
        if is_url(name):
            raise input_error(name, "expected FITS files on this machine: copy them here, or make previews there")
        path = Path(name)
        if path.is_dir():
            below = [str(path / file) for file in fits_names(walk(name))]
        elif path.exists():
            below = [name]
        else:
            below = fits_names(matches(name))
        if not below:
            raise input_error(name, "expected FITS files, found none")
        found += below
    return found
