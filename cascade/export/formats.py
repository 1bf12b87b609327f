"""One entry point for every export format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.core.made import mark_made
from cascade.export.annotations import write_coco, write_via
from cascade.export.ds9 import write_regions
from cascade.export.fits_masks import GHOST_BIT, GHOST_CODE, bit_format, lsst_format, write_masks, write_onto
from cascade.export.ghosted import SkyHeaders, Written
from cascade.export.healsparse_maps import write_maps
from cascade.runs.inputs import InputPlaces
from cascade.runs.run import Run
from cascade.storage import local_path

FORMATS: Mapping[str, tuple[str, ...]] = {
    "fits-mask": ("astropy",),
    "lsst": ("astropy",),
    "ds9": ("astropy", "regions"),
    "coco": (),
    "via": (),
    "healsparse": ("astropy", "healsparse", "hpgeom"),
}
"""Formats, and the packages that each needs."""


def export_run(
    run: Run,
    format: str,
    out: Path | str,
    *,
    fits: Sequence[str] = (),
    onto: Sequence[str] = (),
    bit: int = GHOST_BIT,
    code: int = GHOST_CODE,
    reviewed: bool = False,
    inputs: Sequence[str] = (),
) -> Written:
    """
    Export the artifacts of a run.

    Parameters
    ----------
    run : Run
        Complete.
    format : str
        One of `FORMATS`.
    out : path
        Folder; created if missing. Existing files of the same names are replaced.
    fits : sequence of str
        FITS files that hold the WCS of exposures, where the run's inputs no longer exist or are images.
    onto : sequence of str
        For ``fits-mask``: masks of a pipeline, in copies of which the artifacts are marked.
    bit, code : int
        For ``fits-mask``: see `write_onto`; `bit` counts without `onto`, too.
    reviewed : bool
        For ``via``: the reviewed exposures, see `write_via`.
    inputs : sequence of paths
        Where the inputs of the run are now, if they were moved, see `InputPlaces.of`.

    Returns
    -------
    Written

    Raises
    ------
    ConfigError
        If the format is unknown, an option does not apply to it, a package is missing, or `out` is a URL.
    StoreError
        If the run is not complete.
    InputError
        If a FITS file cannot be read, or the inputs are not there.
    """
    if format not in FORMATS:
        msg = f"export format: expected one of {', '.join(FORMATS)}, got {format!r}"
        raise ConfigError(msg)
    if onto and format != "fits-mask":
        msg = f"onto: expected it with the format fits-mask, got {format}"
        raise ConfigError(msg)
    if reviewed and format != "via":
        msg = f"reviewed: expected it with the format via, got {format}"
        raise ConfigError(msg)
    for package in FORMATS[format]:
        if find_spec(package) is None:
            msg = f"export format {format}: expected the package {package}: pip install 'ghost-cascade[export]'"
            raise ConfigError(msg)
    out = local_path(out)
    out.mkdir(parents=True, exist_ok=True)
    if format in ("fits-mask", "lsst") and not any(out.iterdir()):
        mark_made(out)
    if onto:
        return write_onto(run, out, onto, bit=bit, code=code)
    places = InputPlaces.of(run, inputs)
    headers = SkyHeaders(Camera.load(run.config.camera), fits, places)
    writers: dict[str, Callable[[], Written]] = {
        "fits-mask": lambda: write_masks(run, out, bit_format(bit), headers),
        "lsst": lambda: write_masks(run, out, lsst_format(), headers),
        "ds9": lambda: write_regions(run, out, headers),
        "coco": lambda: write_coco(run, out),
        "via": lambda: write_via(run, out, reviewed=reviewed, places=places),
        "healsparse": lambda: write_maps(run, out, headers),
    }
    return writers[format]()
