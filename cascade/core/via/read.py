"""VIA 2 documents to regions, with all problems found in them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.core.artifact import Artifact
from cascade.core.errors import InputError, printable
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.core.plain_files import open_plain
from cascade.core.text import decode_text
from cascade.core.via.region import Region

logger = logging.getLogger(__name__)

MAX_VIA_BYTES = 256 * 2**20
"""Largest annotation file that is read; the largest of the DES ones, with 2000 images, has 3 MB."""

MAX_REGIONS = 1000
"""Most regions of one image; the largest number of the DES ones is 13."""

MAX_POINTS = 10_000
"""Most points of one outline."""

MAX_COORDINATE = 1e6
"""Largest coordinate of an outline, in pixels; beyond it rasterisers overflow."""


@dataclass(frozen=True, slots=True)
class Problem:
    """
    A problem of one image or region of an annotation file.

    Attributes
    ----------
    image
        File name of the image.
    region
        Number of the region, from 0; None if the problem is of the image.
    kind
        ``unclassed`` (no class, or an unknown one), ``malformed`` or ``duplicate`` (an image listed twice,
        differently): an annotation is lost, see `Annotations.incomplete`. Or ``no area`` (a point, say), ``outside``,
        ``clipped`` or ``repeated`` (an image listed twice, identically): nothing is lost.
    message
        Expected and actual value.
    """

    image: str
    region: int | None
    kind: str
    message: str

    def __str__(self) -> str:
        where = self.image if self.region is None else f"{self.image}: region {self.region}"
        return f"{where} {_CONSEQUENCE[self.kind]}: {self.message}"


_CONSEQUENCE = {
    "unclassed": "left out",
    "malformed": "left out",
    "duplicate": "left out",
    "no area": "left out",
    "outside": "marks nothing",
    "clipped": "clipped at the border",
    "repeated": "used once",
}
# Names of the attribute that holds the class, in any case; the first that is there counts.
_CLASS_ATTRIBUTES = ("type", "class", "label", "name", "category")
_LOSSES = ("unclassed", "malformed", "duplicate")


@dataclass(frozen=True, slots=True)
class Annotations:
    """
    What one annotator drew.

    Attributes
    ----------
    path
        The file.
    images
        Image file name to its usable regions; images without any are in it too.
    problems
        In the order of the file.
    """

    path: Path
    images: Mapping[str, tuple[Region, ...]]
    problems: tuple[Problem, ...]

    @property
    def incomplete(self) -> frozenset[str]:
        """Images whose masks are incomplete, since something drawn on them could not be used."""
        return frozenset(problem.image for problem in self.problems if problem.kind in _LOSSES)


def read_annotations(path: str | Path) -> Annotations:
    """
    Read a VIA 2 file with all its problems: project, plain annotations, or the list of images of the paper's split.

    A region that cannot be used is left out, an image that is listed twice and differently as well; both are reported.

    Parameters
    ----------
    path : path-like
        The JSON file.

    Raises
    ------
    InputError
        If the file is missing, too large or no VIA JSON.
    """
    path = Path(path)
    images: dict[str, tuple[Region, ...]] = {}
    problems: list[Problem] = []
    seen: dict[str, Any] = {}
    for _, record in read_records(path):
        name = record["filename"]
        if name in seen:
            if seen[name] == record.get("regions"):
                problems.append(Problem(name, None, "repeated", "the image is listed twice"))
            else:
                problems.append(Problem(name, None, "duplicate", "the image is listed twice, with different regions"))
                images.pop(name, None)
            continue
        seen[name] = record.get("regions")
        regions, found = _parse_regions(record)
        images[name] = regions
        problems += found
    return Annotations(path, images, tuple(problems))


def read_checked(path: str | Path) -> Annotations:
    """
    Read a VIA 2 file as `read_annotations` does, with a logged warning for each region that cannot be used.

    Raises
    ------
    InputError
        If the file is missing, too large or no VIA JSON, or names an image twice.
    """
    annotations = read_annotations(path)
    for problem in annotations.problems:
        if problem.kind in ("duplicate", "repeated"):
            msg = f"{path}: image {problem.image!r} is listed twice"
            raise InputError(msg)
        if problem.kind not in ("outside", "clipped"):
            logger.warning("%s", printable(f"{path}: {problem}"))
    return annotations


def read_via(path: str | Path) -> dict[str, tuple[Region, ...]]:
    """
    Read a VIA 2 file; see `read_annotations`.

    A region that cannot be used (no class, a point, a malformed shape) is left out with a logged warning.

    Parameters
    ----------
    path : path-like
        The JSON file.

    Returns
    -------
    dict
        Image file name to its regions; images without any are in it too. Match annotators by these names, never by
        order.

    Raises
    ------
    InputError
        If the file is missing, too large or no VIA JSON, or names an image twice.
    """
    return dict(read_checked(path).images)


def read_records(path: str | Path) -> list[tuple[str, dict[str, Any]]]:
    """
    Read the image records of a VIA 2 file, unparsed.

    Parameters
    ----------
    path : path-like
        A project, plain annotations, or a list of records.

    Returns
    -------
    list of (str, dict)
        VIA's key of the image, which is its name and size, and the record, with a ``filename``.

    Raises
    ------
    InputError
        If the file is missing, too large or no VIA JSON.
    """
    path = Path(path)
    document = _read_document(path)
    images = document.get("_via_img_metadata", document) if isinstance(document, dict) else document
    if not isinstance(images, dict | list):
        msg = f"{path}: expected VIA JSON, images as a dict or a list, or a project, got a {type(images).__name__}"
        raise InputError(msg)
    records = []
    for record in images.values() if isinstance(images, dict) else images:
        name = record.get("filename") if isinstance(record, dict) else None
        if not isinstance(name, str):
            msg = f"{path}: expected VIA image records with a 'filename', got {str(record)[:80]!r}"
            raise InputError(msg)
        records.append((f"{name}{record.get('size', -1)}", record))
    return records


def _read_document(path: Path) -> Any:  # noqa: ANN401
    """A JSON document of at most `MAX_VIA_BYTES`."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_VIA_BYTES:
                msg = f"{path}: expected annotations of at most {MAX_VIA_BYTES} bytes, got {size}"
                raise InputError(msg)
            return json.loads(decode_text(file.read()))
    except OSError as error:
        msg = f"{path}: cannot read annotations: {error.strerror}"
        raise InputError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path}: expected VIA JSON: {error}"
        raise InputError(msg) from error


def _parse_regions(record: Mapping[str, Any]) -> tuple[tuple[Region, ...], list[Problem]]:
    """The usable regions of one image and its problems; `regions` is a list or a dict, by the version of VIA."""
    name = record["filename"]
    raw = record.get("regions") or []
    if not isinstance(raw, dict | list) or len(raw) > MAX_REGIONS:
        got = f"{len(raw)} of them" if isinstance(raw, dict | list) else f"a {type(raw).__name__}"
        return (), [Problem(name, None, "malformed", f"expected a list of at most {MAX_REGIONS} regions, got {got}")]
    regions, problems = [], []
    for number, region in enumerate(raw.values() if isinstance(raw, dict) else raw):
        try:
            parsed = _region(region)
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            problems.append(Problem(name, number, _KINDS.get(type(error), "malformed"), reason))
            continue
        regions.append(parsed)
        if kind := _beyond(parsed):
            y0, x0, y1, x1 = parsed.extent()
            spans = f"rows {y0:.0f} to {y1:.0f}, columns {x0:.0f} to {x1:.0f}"
            problems.append(Problem(name, number, kind, f"expected an outline on the image, got {spans}"))
    return tuple(regions), problems


class _NoClassError(InputError):
    """A region of no known class."""


class _NoAreaError(InputError):
    """A region that covers nothing."""


_KINDS: Mapping[type[Exception], str] = {_NoClassError: "unclassed", _NoAreaError: "no area"}


def _region(region: Mapping[str, Any]) -> Region:
    """Parse one region."""
    shape = region["shape_attributes"]
    name = shape["name"]
    if name == "point":
        msg = "a point has no area"
        raise _NoAreaError(msg)
    artifact = _class(region.get("region_attributes"))
    if name in ("polygon", "polyline"):
        rows, columns = _points(shape["all_points_y"]), _points(shape["all_points_x"])
        if len(rows) != len(columns) or len(rows) < 3:
            msg = f"expected three or more points of an outline, got {len(columns)} x and {len(rows)} y"
            raise InputError(msg)
        return Region(artifact, name, rows, columns)
    if name == "rect":
        y0, x0, height, width = _floats(shape[key] for key in ("y", "x", "height", "width"))
        _check_size(height, width)
        return Region(
            artifact, name, _floats((y0, y0, y0 + height, y0 + height)), _floats((x0, x0 + width, x0 + width, x0))
        )
    if name in ("circle", "ellipse"):
        keys = ("r", "r") if name == "circle" else ("ry", "rx")
        row, column, *radii = _floats(shape[key] for key in ("cy", "cx", *keys))
        _check_size(*radii)
        (theta,) = _floats([shape.get("theta", 0.0)])
        return Region(artifact, name, (row,), (column,), (radii[0], radii[1]), theta)
    msg = f"expected a shape of VIA that has an area, got {str(name)[:40]!r}"
    raise InputError(msg)


def _class(attributes: Any) -> Artifact:  # noqa: ANN401
    """The class of a region: text, a choice of a list, or the one box that is ticked."""
    given = attributes if isinstance(attributes, Mapping) else {}
    found = {str(name).strip().lower(): value for name, value in given.items()}
    label = next((found[name] for name in _CLASS_ATTRIBUTES if found.get(name)), None)
    if isinstance(label, Mapping):
        ticked = [box for box, is_ticked in label.items() if is_ticked]
        label = ticked[0] if len(ticked) == 1 else None
    if not isinstance(label, str) or not label.strip():
        msg = f"expected its class in one attribute of {', '.join(_CLASS_ATTRIBUTES)}, got {str(attributes)[:80]}"
        raise _NoClassError(msg)
    try:
        return Artifact.from_label(label)
    except InputError as error:
        raise _NoClassError(str(error)) from error


def _check_size(height: float, width: float) -> None:
    """Reject a shape of zero size."""
    if height <= 0 or width <= 0:
        msg = f"expected a positive size, got {width:g} by {height:g}"
        raise _NoAreaError(msg)


def _beyond(region: Region, shape: tuple[int, int] = PREVIEW_SHAPE) -> str | None:
    """Whether a region reaches beyond the image (``clipped``) or does not meet it (``outside``)."""
    y0, x0, y1, x1 = region.extent()
    height, width = shape
    if y1 < 0 or x1 < 0 or y0 > height - 1 or x0 > width - 1:
        return "outside"
    inside = y0 >= 0 and x0 >= 0 and y1 <= height and x1 <= width  # VIA lets outlines end on the far edge
    return None if inside else "clipped"


def _points(values: Any) -> tuple[float, ...]:  # noqa: ANN401
    """Coordinates of an outline, at most `MAX_POINTS`; str and dict would yield letters and keys."""
    if not isinstance(values, list) or len(values) > MAX_POINTS:
        got = f"{len(values)} of them" if isinstance(values, list) else f"a {type(values).__name__}"
        msg = f"expected a list of at most {MAX_POINTS} points of an outline, got {got}"
        raise InputError(msg)
    return _floats(values)


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    """Finite coordinates, at most `MAX_COORDINATE`."""
    numbers = list(values)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        msg = f"expected numbers as coordinates, got {str(numbers[:8])[:80]}"
        raise InputError(msg)
    if not all(abs(value) <= MAX_COORDINATE for value in numbers):  # false for NaN, too; an int may exceed all floats
        msg = f"expected finite coordinates of at most {MAX_COORDINATE:.0f} px, got {str(numbers[:8])[:80]}"
        raise InputError(msg)
    return tuple(map(float, numbers))
