"""Which reader opens which input."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from logging import getLogger
from pathlib import Path, PurePosixPath

from cascade.core.errors import InputError, input_error, printable, reason
from cascade.inputs.archive import open_archive
from cascade.inputs.base import Reader, chain
from cascade.inputs.fits.reader import is_exposure_name, is_fits_name, open_fits
from cascade.inputs.images import IMAGE_SUFFIXES, is_image_name, matches, open_folder, open_images, open_pattern, walk
from cascade.inputs.manifest import open_manifest
from cascade.inputs.remote import open_remote
from cascade.inputs.stacks import open_npy, open_zarr
from cascade.storage import is_url

logger = getLogger(__name__)

Predicate = Callable[[Path], bool]
Opener = Callable[[Sequence[str]], Reader]
Registry = tuple[tuple[Predicate, Opener], ...]

SUPPORTED = (
    "a folder of images, a glob pattern, a JPEG or PNG image, a .zip of images, an .npy stack, "
    "a Zarr store of previews, FITS exposures or a folder of them, a manifest (.csv, .parquet); or the URL "
    "(s3://, gs:// or az://) of images, FITS exposures, a Zarr store or a manifest"
)


def open_inputs(inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, camera: str = "decam") -> Reader:
    """
    Open inputs of any kind, as one reader.

    Only names are listed; an image that turns out to be damaged is an error of `Reader.read`.

    Parameters
    ----------
    inputs : path or sequence of paths
        Each one a folder (searched recursively), a glob pattern, a FITS exposure, a JPEG or PNG image, a .zip of
        images, an .npy stack, a Zarr store of previews, or a manifest (.csv or .parquet); or a URL such as
        ``s3://bucket/prefix`` of a manifest, of a Zarr store (``….zarr``) or of what
        `cascade.inputs.remote.open_remote` takes.
    camera : str
        The camera that FITS exposures and stores made of them must be of, see `cascade.camera.Camera.load`.

    Returns
    -------
    Reader
        The exposures of all inputs in the order given; within a folder, pattern or archive sorted by name.

    Raises
    ------
    InputError
        If there is no input, or one does not exist, is of no known kind or holds no exposure.
    """
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    names = [normal_name(os.fspath(name)) for name in inputs]
    if not names:
        msg = f"inputs: expected at least one: {SUPPORTED}"
        raise InputError(msg)
    registry, remote = _registry(camera), _remote_registry(camera)

    def opener_of(name: str) -> Opener:
        return _remote_opener(remote, name) if is_url(name) else _opener(registry, name)

    # A shell hands over a pattern as its matches: neighbours of one kind go to one opener.
    return chain(opener(list(group)) for opener, group in groupby(names, key=opener_of))


def normal_name(name: str) -> str:
    """The name of an input without what does not count: slashes at its end or doubled, and ``./``."""
    return name if not name or is_url(name) else str(Path(name))


def _opener(registry: Registry, name: str) -> Opener:
    """The first entry of the registry that takes an input."""
    path = Path(name)
    try:
        for predicate, opener in registry:
            if predicate(path):
                return opener
        exists = path.exists()
    except OSError as error:
        raise input_error(name, reason(error)) from error
    if not exists:
        raise input_error(name, "no such file or folder")
    raise input_error(name, f"not an input that can be read; expected {SUPPORTED}")


def _remote_opener(registry: Mapping[str, Opener], name: str) -> Opener:
    """The entry of the registry that takes a URL."""
    return registry.get(PurePosixPath(name).suffix.lower(), registry[""])


def is_pattern(path: Path) -> bool:
    """Whether a path is a glob pattern rather than a file with odd characters in its name."""
    return any(character in str(path) for character in "*?[") and not path.exists()


def _is_zarr(path: Path) -> bool:
    """Whether a path is a folder that Zarr wrote."""
    return path.is_dir() and (path.suffix.lower() == ".zarr" or (path / "zarr.json").is_file())


def _is_fits(path: Path) -> bool:
    """Whether a path is a file named like FITS."""
    return is_fits_name(str(path)) and path.is_file()


def _file_ending(*suffixes: str) -> Predicate:
    """Whether a path is a file with one of the endings, in any case."""
    return lambda path: path.suffix.lower() in suffixes and path.is_file()


def _each(open_one: Callable[[str], Reader]) -> Opener:
    """An opener of many inputs from an opener of one."""
    return lambda names: chain(map(open_one, names))


def _open_folder(name: str, camera: str) -> Reader:
    """The images and the FITS exposures in a folder and below."""
    images, files = _apart(walk(name))
    return _both(name, partial(open_folder, name, images), images, [str(Path(name, below)) for below in files], camera)


def _open_pattern(pattern: str, camera: str) -> Reader:
    """The images and the FITS exposures that a pattern matches."""
    images, files = _apart(matches(pattern))
    return _both(pattern, partial(open_pattern, pattern, images), images, files, camera)


def _apart(found: Iterable[str]) -> tuple[list[str], list[str]]:
    """The images among names, and the FITS files, sorted."""
    images, files = [], []
    for name in found:
        if is_image_name(name):
            images.append(name)
        elif is_fits_name(name):
            files.append(name)
    return images, sorted(files)


def _both(name: str, open_: Callable[[], Reader], images: list[str], files: list[str], camera: str) -> Reader:
    """Images, FITS exposures, or first the ones and then the others, with a word about it."""
    if images:
        files = list(filter(is_exposure_name, files))
    if not files:
        return open_()
    exposures = open_fits(files, camera=camera)
    if not images:
        return exposures
    logger.warning(
        "%s: holds %d images and %d FITS exposures, and all are taken; a pattern such as *.fits* takes one kind",
        printable(name),
        len(images),
        len(exposures),
    )
    return chain((open_(), exposures))


def _registry(camera: str) -> Registry:
    """What opens what; the first predicate that holds counts."""
    return (
        (is_pattern, _each(partial(_open_pattern, camera=camera))),
        (_is_zarr, _each(partial(open_zarr, camera=camera))),
        (Path.is_dir, _each(partial(_open_folder, camera=camera))),
        (_file_ending(*IMAGE_SUFFIXES), open_images),
        (_is_fits, partial(open_fits, camera=camera)),
        (_file_ending(".zip"), _each(open_archive)),
        (_file_ending(".npy"), _each(open_npy)),
        (_file_ending(".csv", ".parquet"), _each(open_manifest)),
    )


def _remote_registry(camera: str) -> Mapping[str, Opener]:
    """What opens which URL, by its suffix; the empty one stands for all others."""
    manifests = _each(open_manifest)
    stores = _each(lambda name: open_zarr(name.rstrip("/"), camera=camera))
    return {".csv": manifests, ".parquet": manifests, ".zarr": stores, "": partial(open_remote, camera=camera)}
