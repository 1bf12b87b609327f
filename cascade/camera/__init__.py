"""Cameras: the layout of CCDs on a preview."""

from cascade.camera.camera import CAMERAS, Camera, Ccd, DeadArea
from cascade.camera.paper import PAPER_CCD_AREA_PX, paper_boxes

__all__ = ["CAMERAS", "PAPER_CCD_AREA_PX", "Camera", "Ccd", "DeadArea", "paper_boxes"]
