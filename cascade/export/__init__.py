"""Masks and vetoes for pipelines and people: FITS, LSST-style planes, DS9, COCO, VIA, healsparse."""

from cascade.export.formats import FORMATS, export_run
from cascade.export.ghosted import Written

__all__ = ["FORMATS", "Written", "export_run"]
