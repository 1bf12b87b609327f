"""Uncertainty of the networks: which exposures to review first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Float64Array = npt.NDArray[np.float64]


def doubts(exposures: pa.Table, artifacts: pa.Table) -> Float64Array:
    """
    Compute how uncertain the networks are about each exposure.

    The screen's score and that of the surest artifact (0 if there is none) are averaged to p; the doubt is
    1 - abs(2 p - 1). So networks that contradict each other are in as much doubt as two that cannot decide, and an
    exposure on which both are sure is in none.

    Parameters
    ----------
    exposures, artifacts : pyarrow.Table
        The tables of a run; exposures by rising position.

    Returns
    -------
    ndarray of float64, shape (len(exposures),)
        In [0, 1]; 0 for exposures that failed.
    """
    positions = exposures["exposure"].to_numpy()
    surest = np.zeros(len(positions))
    np.maximum.at(surest, rows_of(positions, artifacts["exposure"].to_numpy()), artifacts["score"].to_numpy())
    screen = exposures["screen_score"].to_numpy(zero_copy_only=False).astype(float)
    together = np.where(np.isnan(screen), surest, (screen + surest) / 2)
    failed = np.asarray(exposures["status"].to_pylist()) == "failed"
    return np.where(failed, 0.0, 1 - np.abs(2 * together - 1))


def rows_of(positions: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Rows, in a table with rising `positions`, of the exposures at the positions `wanted`, all of which it has."""
    return np.searchsorted(positions, wanted)
