"""The camera: which CCD lies where on a preview, and which night an exposure belongs to."""

from cascade.camera.camera import CAMERAS, Camera, Ccd, DeadArea
from cascade.camera.night import mjd_of_night, night_of
from cascade.camera.paper import PAPER_CCD_AREA_PX, paper_boxes

__all__ = ["CAMERAS", "PAPER_CCD_AREA_PX", "Camera", "Ccd", "DeadArea", "mjd_of_night", "night_of", "paper_boxes"]
