"""Annotations drawn with the VGG Image Annotator (VIA 2): reading, writing, and turning shapes into masks."""

from cascade.core.via.read import Annotations, Problem, read_annotations, read_checked, read_records, read_via
from cascade.core.via.region import Region, region_instances
from cascade.core.via.write import via_document

__all__ = [
    "Annotations",
    "Problem",
    "Region",
    "read_annotations",
    "read_checked",
    "read_records",
    "read_via",
    "region_instances",
    "via_document",
]
