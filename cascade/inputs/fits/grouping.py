"""Which FITS files are one exposure, by their headers: one file a CCD, whatever the names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cascade.camera import Camera
from cascade.core.errors import InputError
from cascade.inputs.fields import HeaderFacts, header_facts
from cascade.inputs.fits.ccds import ccd_hdus, place
from cascade.inputs.fits.structure import Hdu, read_leading_headers, read_structure

Groups = Mapping[str, tuple[int | None, Sequence[str]]]
"""Exposure number, if the names say it, and files of each exposure, by what it is called."""

_Key = tuple[str, int | None, float | None]


def group_by_header(groups: Groups, camera: Camera) -> Groups:
    """
    Put files of one CCD each together that are one exposure.

    They lie in one folder, say the same EXPNUM and time, and are of different CCDs. Where CCDs are there twice, as in
    two versions of a product, only those with the same name but for the CCD go together.

    Parameters
    ----------
    groups : mapping
        Exposures by name; those of several files stay as they are.
    camera : Camera
        Knows the CCDs.

    Returns
    -------
    mapping
        In the order of their first files. A set is called by what its files have in common, ``night/c4d_*.fits``.
    """
    sets: dict[_Key, list[str]] = {}
    for name, (_, files) in groups.items():
        if len(files) == 1 and (key := _key(files[0])) is not None:
            sets.setdefault(key, []).append(name)
    merged: dict[str, tuple[str, list[str]]] = {}
    for members in sets.values():
        for together in _of_one_exposure(members, camera) if len(members) > 1 else ():
            called = _common_name(together)
            merged |= dict.fromkeys(together, (called, together))
    result: dict[str, tuple[int | None, Sequence[str]]] = {}
    for name, (expnum, files) in groups.items():
        called, together = merged.get(name, (name, list(files)))
        result.setdefault(called, (expnum, together))
    return result


def _key(file: str) -> _Key | None:
    """Folder, expnum and time of a file; None where its first headers give neither of these."""
    path = Path(file)
    if not path.is_file():  # opening a pipe would wait for ever
        return None
    try:
        facts = _facts(path, file)
    except InputError:
        return None  # it will fail, and say why, when it is read
    if facts.expnum is None and facts.header.mjd_obs is None:
        return None
    return str(path.parent), facts.expnum, facts.header.mjd_obs


def _facts(path: Path, name: str) -> HeaderFacts:
    """What the first header says, or the second where the first is empty."""
    for header in read_leading_headers(path, name):
        facts = header_facts(header)
        if facts.expnum is not None or facts.header.mjd_obs is not None:
            break
    return facts


def _of_one_exposure(files: Sequence[str], camera: Camera) -> list[list[str]]:
    """Sets of two files and more that are different CCDs of one exposure."""
    ccds = {file: ccdnum for file in files if (ccdnum := _only_ccd(file, camera)) is not None}
    if len(set(ccds.values())) == len(ccds):
        sets = [list(ccds)]
    else:
        by_name: dict[str, list[str]] = {}
        for file, ccdnum in ccds.items():
            by_name.setdefault(_without_ccd(Path(file).name, ccdnum, camera), []).append(file)
        sets = [members for members in by_name.values() if len({ccds[file] for file in members}) == len(members)]
    return [members for members in sets if len(members) > 1]


def _only_ccd(file: str, camera: Camera) -> int | None:
    """The CCD that a file holds, if it holds one alone."""
    try:
        if file.lower().endswith(".gz"):  # would have to be unpacked
            hdus = [Hdu(k, header, 0, 0, 0) for k, header in enumerate(read_leading_headers(Path(file), file))]
        else:
            hdus = read_structure(Path(file), file)
        images = ccd_hdus(hdus)
        ccd = place(images[0], camera, file) if len(images) == 1 else None
    except (InputError, KeyError, TypeError, ValueError):
        return None  # it will fail, and say why, when it is read
    return None if ccd is None else ccd.ccdnum


def _without_ccd(name: str, ccdnum: int, camera: Camera) -> str:
    """A file name without what stands for the CCD, ``c28``, ``28`` or ``S4``."""
    return re.sub(rf"(?<![A-Za-z0-9])(?:(?:c|ccd)?0?{ccdnum}|{camera.detpos(ccdnum)})(?!\d)", "*", name)


def _common_name(files: Sequence[str]) -> str:
    """A pattern of files in one folder: what their names have in common at both ends."""
    names = [Path(file).name for file in files]
    start = os.path.commonprefix(names)  # noqa: RUF071 - of text
    end = os.path.commonprefix([name[len(start) :][::-1] for name in names])[::-1]  # noqa: RUF071 - of text
    return str(Path(files[0]).with_name(f"{start}*{end}"))
