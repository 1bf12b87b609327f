"""Annotations drawn with the VGG Image Annotator (VIA 2): reading them and turning shapes into masks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage import draw

from cascade.errors import InputError
from cascade.exposure import PREVIEW_SHAPE, Artifact, BoolArray, Instances, tight_boxes

logger = logging.getLogger(__name__)

MAX_VIA_BYTES = 256 * 2**20
"""Largest annotation file that is read; the largest of the DES ones, with 2000 images, has 3 MB."""


@dataclass(frozen=True, slots=True)
class Region:
    """
    One outlined artifact.

    Attributes
    ----------
    artifact
        Its class.
    shape
        Name of the VIA shape: polygon, polyline (a closed outline), circle, ellipse or rect.
    rows, columns
        Corners of the outline in pixels for polygon, polyline and rect; the centre for circle and ellipse.
    radii
        (row, column) half-axes in pixels before rotation; (0, 0) where the shape has corners.
    theta
        Rotation of an ellipse in radians, clockwise on the screen, as VIA stores it.
    """

    artifact: Artifact
    shape: str
    rows: tuple[float, ...]
    columns: tuple[float, ...]
    radii: tuple[float, float] = (0.0, 0.0)
    theta: float = 0.0

    def mask(self, shape: tuple[int, int] = PREVIEW_SHAPE) -> BoolArray:
        """
        Fill the outline on an (H, W) grid; whatever lies outside is clipped, never wrapped.

        Returns
        -------
        ndarray of bool, shape (H, W)
        """
        mask = np.zeros(shape, bool)
        if self.shape in ("circle", "ellipse"):
            # VIA turns clockwise on the screen, skimage counter-clockwise.
            pixels = draw.ellipse(  # type: ignore[no-untyped-call]
                self.rows[0],
                self.columns[0],
                *self.radii,
                shape=shape,
                rotation=-self.theta,
            )
        else:
            pixels = draw.polygon(self.rows, self.columns, shape=shape)  # type: ignore[no-untyped-call]
        mask[pixels] = True
        return mask


def read_via(path: str | Path) -> dict[str, tuple[Region, ...]]:
    """
    Read a VIA 2 file, project or plain annotations.

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
    path = Path(path)
    images = _image_records(path)
    regions: dict[str, tuple[Region, ...]] = {}
    for record in images:
        name = record.get("filename") if isinstance(record, Mapping) else None
        if not isinstance(name, str):
            msg = f"{path}: expected VIA image records with a 'filename', got {str(record)[:80]!r}"
            raise InputError(msg)
        if name in regions:
            msg = f"{path}: image {name!r} is listed twice"
            raise InputError(msg)
        regions[name] = tuple(_usable_regions(record, where=f"{path}: {name}"))
    return regions


def region_instances(regions: Sequence[Region], shape: tuple[int, int] = PREVIEW_SHAPE) -> Instances:
    """
    Turn outlines into instances on an (H, W) grid, with tight boxes and score 1; those wholly outside are left out.
    """
    if not regions:
        return Instances.empty(shape)
    masks = np.stack([region.mask(shape) for region in regions])
    classes = np.array([region.artifact for region in regions], np.uint8)
    drawn = Instances(classes, np.ones(len(regions), np.float32), tight_boxes(masks), masks)
    return drawn.select(np.any(masks, axis=(1, 2)))


def via_document(regions: Mapping[str, Sequence[Region]]) -> dict[str, Any]:
    """
    Build a VIA 2 document, which `read_via` and VIA itself read.

    Parameters
    ----------
    regions : mapping
        Image file name to its regions.

    Returns
    -------
    dict
        To be written as JSON.
    """
    return {
        name: {
            "filename": name,
            "size": -1,  # unknown to VIA, which then looks up the name alone
            "regions": [
                {
                    "shape_attributes": _shape_attributes(region),
                    "region_attributes": {"Type": region.artifact.name.title()},
                }
                for region in drawn
            ],
            "file_attributes": {},
        }
        for name, drawn in regions.items()
    }


def _shape_attributes(region: Region) -> dict[str, Any]:
    """The geometry of a region in VIA's terms; the inverse of `_region`."""
    if region.shape == "circle":
        return {"name": "circle", "cx": region.columns[0], "cy": region.rows[0], "r": region.radii[0]}
    if region.shape == "ellipse":
        radii = {"rx": region.radii[1], "ry": region.radii[0], "theta": region.theta}
        return {"name": "ellipse", "cx": region.columns[0], "cy": region.rows[0], **radii}
    if region.shape == "rect":
        (y0, y1), (x0, x1) = ((min(side), max(side)) for side in (region.rows, region.columns))
        return {"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
    return {"name": region.shape, "all_points_x": list(region.columns), "all_points_y": list(region.rows)}


def _image_records(path: Path) -> Iterable[Any]:
    """The image records of either VIA layout."""
    try:
        size = path.stat().st_size
        if size > MAX_VIA_BYTES:
            msg = f"{path}: expected annotations of at most {MAX_VIA_BYTES} bytes, got {size}"
            raise InputError(msg)
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: cannot read annotations: {error.strerror}"
        raise InputError(msg) from error
    except ValueError as error:
        msg = f"{path}: expected VIA JSON: {error}"
        raise InputError(msg) from error
    images = document.get("_via_img_metadata", document) if isinstance(document, dict) else None
    if not isinstance(images, dict):
        msg = f"{path}: expected VIA JSON, a dict of images or a project, got a {type(document).__name__}"
        raise InputError(msg)
    return images.values()


def _usable_regions(record: Mapping[str, Any], where: str) -> Iterable[Region]:
    """Parse the regions of one image; `regions` is a list or a dict, by the version of VIA."""
    raw = record.get("regions") or []
    for number, region in enumerate(raw.values() if isinstance(raw, dict) else raw):
        try:
            yield _region(region)
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            logger.warning("%s: region %d left out: %s", where, number, reason)


def _region(region: Mapping[str, Any]) -> Region:
    """Parse one region."""
    artifact = Artifact.from_label(region["region_attributes"]["Type"])
    shape = region["shape_attributes"]
    name = shape["name"]
    if name in ("polygon", "polyline"):
        rows, columns = _floats(shape["all_points_y"]), _floats(shape["all_points_x"])
        if len(rows) != len(columns) or len(rows) < 3:
            msg = f"expected three or more points of an outline, got {len(columns)} x and {len(rows)} y"
            raise InputError(msg)
        return Region(artifact, name, rows, columns)
    if name == "rect":
        y0, x0, height, width = _floats(shape[key] for key in ("y", "x", "height", "width"))
        return Region(artifact, name, (y0, y0, y0 + height, y0 + height), (x0, x0 + width, x0 + width, x0))
    if name in ("circle", "ellipse"):
        keys = ("r", "r") if name == "circle" else ("ry", "rx")
        row, column, radius_row, radius_column = _floats(shape[key] for key in ("cy", "cx", *keys))
        return Region(artifact, name, (row,), (column,), (radius_row, radius_column), float(shape.get("theta", 0.0)))
    msg = f"a {name} has no area"
    raise InputError(msg)


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    """Finite coordinates."""
    floats = tuple(float(value) for value in values)
    if not np.all(np.isfinite(floats)):
        msg = f"expected finite coordinates, got {floats}"
        raise InputError(msg)
    return floats
