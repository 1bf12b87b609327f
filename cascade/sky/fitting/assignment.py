"""Which ghost each drawn shape is: one shape, one ghost, the likeliest set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from cascade.sky.fitting.annotated import Annotated

Floats = npt.NDArray[np.float64]

_MIN_OVERLAP = 0.5
_PER_OVERLAP = 4.0  # log-odds that an overlap of 1 counts more than one of 0
_OFFSET = 12.0  # above any log-odds against, so that as many shapes as possible are explained


def assign(exposures: Sequence[Annotated], log_probabilities: Sequence[Floats]) -> list[npt.NDArray[np.int64]]:
    """
    Assign the drawn rings to ghosts.

    A ring that fills the field overlaps large rings of any star in it, most of which nobody saw; each shape therefore
    counts for one ghost only, and what is likelier to be drawn is preferred.

    Parameters
    ----------
    exposures : sequence of Annotated
    log_probabilities : sequence of ndarray
        For each exposure the logarithms of the probabilities that its ghosts are drawn, from an earlier fit.

    Returns
    -------
    list of ndarray of int64
        For each exposure and ghost, the index of its shape among `Annotated.rings`; -1 if it was not drawn.
    """
    found = []
    for exposure, log_probability in zip(exposures, log_probabilities, strict=True):
        shapes = np.full(len(exposure.ghosts), -1)
        if exposure.overlaps.size:
            overlaps = exposure.overlaps
            gain = log_probability[:, None] + _PER_OVERLAP * (overlaps - 1) + _OFFSET
            gain = np.where(overlaps > _MIN_OVERLAP, np.maximum(gain, 0), 0)
            ghosts, rings = linear_sum_assignment(-gain)
            real = gain[ghosts, rings] > 0
            shapes[ghosts[real]] = rings[real]
        found.append(shapes)
    return found
