"""Where a filter of DECam sits: four slots of the filter changer, which filters have changed over the years."""

from __future__ import annotations

SLOT_OFFSETS_MM = (-46.0, -92.0, -137.0, -175.0)
"""
Positions of the slots relative to batoid's filter, towards the detector, from front to back.

Medians of what fits people's outlines of D>Filter best (72, 41, 3 and 3 exposures; scatter 9 mm). The slots are 40.5 mm
apart as built; people draw large rings 1 to 2 px too large, which these effective positions contain.
"""

# Slot of each filter from a date on, MJD; from the same outlines, and the cassettes in the headers of public images
# (two cassettes share a slot). u, and VR as r, are assumed.
_SLOTS: dict[str, tuple[tuple[float, int], ...]] = {
    "u": ((0.0, 0),),
    "g": ((0.0, 0),),
    "r": ((0.0, 1), (57980.0, 3)),
    "VR": ((0.0, 1), (57980.0, 3)),
    "i": ((0.0, 0), (58300.0, 1)),
    "z": ((0.0, 1), (58300.0, 0)),
    "Y": ((0.0, 2),),
}


def filter_offset_mm(band: str, mjd: float | None) -> float:
    """
    Position of a filter relative to batoid's model, towards the detector, mm.

    Parameters
    ----------
    band : str
        u, g, r, i, z, Y or VR.
    mjd : float or None
        Modified Julian date in days; None: as it is today.
    """
    slot = _SLOTS[band][-1][1] if mjd is None else next(slot for since, slot in reversed(_SLOTS[band]) if mjd >= since)
    return SLOT_OFFSETS_MM[slot]
