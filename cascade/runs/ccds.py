"""The CCDs that the artifacts of an exposure touch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import InputError
from cascade.core.exposure import Instances
from cascade.core.fractions import fraction_column


@dataclass(frozen=True, slots=True)
class CcdRow:
    """
    A CCD that the artifacts of one exposure touch.

    Attributes
    ----------
    ccdnum, detpos
        Which CCD.
    area_fraction
        Fraction of its preview pixels under any artifact, in (0, 1].
    class_fractions
        The same for each class, in the order of `Artifact`; classes may overlap.
    max_score
        Highest confidence of the artifacts, of any class, that touch it.
    """

    ccdnum: int
    detpos: str
    area_fraction: float
    class_fractions: tuple[float, ...]
    max_score: float

    def columns(self) -> dict[str, float | int | str]:
        """Its values by column of the CCDs table."""
        fractions = zip((fraction_column(artifact.label) for artifact in Artifact), self.class_fractions, strict=True)
        return {
            "ccdnum": self.ccdnum,
            "detpos": self.detpos,
            "area_fraction": self.area_fraction,
            **dict(fractions),
            "max_score": self.max_score,
        }


def ccd_rows(instances: Instances, camera: Camera) -> list[CcdRow]:
    """
    List the CCDs that the artifacts of one exposure touch by at least one pixel.

    Parameters
    ----------
    instances : Instances
        N instances on an (H, W) focal-plane preview.
    camera : Camera
        CCD layout on the same (H, W) grid.

    Returns
    -------
    list of CcdRow
        One per touched CCD, by rising ccdnum; empty if none.

    Raises
    ------
    InputError
        If the masks are not on the camera's grid.
    """
    if instances.masks.shape[1:] != camera.shape:
        msg = f"masks: expected the camera's shape {camera.shape}, got {instances.masks.shape[1:]}"
        raise InputError(msg)
    plane = instances.bit_mask()
    areas = np.maximum(camera.areas(), 1)
    of_class = [camera.count((plane & class_.bit) > 0) / areas for class_ in Artifact]
    any_class = camera.count(plane > 0) / areas
    max_score = np.zeros(len(areas))
    for mask, score in zip(instances.masks, instances.scores, strict=True):
        touched = camera.count(mask) > 0
        max_score[touched] = np.maximum(max_score[touched], score)
    return [
        CcdRow(
            ccdnum=ccd.ccdnum,
            detpos=ccd.detpos,
            area_fraction=float(any_class[ccd.ccdnum]),
            class_fractions=tuple(float(fractions[ccd.ccdnum]) for fractions in of_class),
            max_score=float(max_score[ccd.ccdnum]),
        )
        for ccd in camera.ccds
        if any_class[ccd.ccdnum] > 0
    ]
