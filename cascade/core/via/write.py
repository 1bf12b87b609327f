"""Regions to VIA 2 documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cascade.core.via.region import Region

_UNKNOWN = -1  # as VIA itself says the size of an image that is no file


def via_document(regions: Mapping[str, Sequence[Region]], sizes: Mapping[str, int] | None = None) -> dict[str, Any]:
    """
    Build a VIA 2 document, which `read_via` and VIA itself read.

    Parameters
    ----------
    regions : mapping
        Image file name to its regions.
    sizes : mapping or None
        Size of each image file in bytes, where it is known: VIA finds an image by name and size together.

    Returns
    -------
    dict
        To be written as JSON.
    """
    known = sizes or {}
    return {
        f"{name}{known.get(name, _UNKNOWN)}": {
            "filename": name,
            "size": known.get(name, _UNKNOWN),
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
