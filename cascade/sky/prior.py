"""The odds that an exposure has ghosts or Rays, from the sky alone, before anybody looks at its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cascade.core.data_files import write_npz
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.sky.boosted_trees import BoostedTrees
from cascade.sky.forecast import Forecast
from cascade.sky.ghosts import GHOST_FEATURES
from cascade.sky.laws import read_fitted

Floats = npt.NDArray[np.float64]

PRIOR_FILE = "sky_prior.npz"

SURVEY_PREVALENCE = 0.042
"""Share of the DES wide survey's exposures that its exclude lists name."""

THRESHOLD = 0.01
"""Probability from which on an exposure's ghosts and Rays are predicted: of about a tenth of a survey."""

ANNULI_DEG = (0.0, 0.3, 0.6, 0.85, 1.0, 1.15, 1.3, 1.4, 1.5, 1.6, 1.75, 1.95, 2.2)
_NO_STAR_MAG = 9.0

PRIOR_FEATURES = (
    *(f"brightest_{inner:g}_{outer:g}" for inner, outer in pairwise(ANNULI_DEG)),
    "likeliest_ghost", "expected_ghosts", "expected_area", "likeliest_rays", "expected_rays",
)  # fmt: skip
"""
Magnitude of the brightest star in each annulus of field angles; the highest probability of a drawn ghost, the sum of
all, and the sum of probability times share of the preview; the highest probability of Rays on a CCD, and the sum over
the CCDs. Band and date count through these alone, since those of annotated exposures were chosen.
"""

_MEANING = {"features": list(PRIOR_FEATURES)}


@dataclass(frozen=True, eq=False)
class PriorLaw:
    """
    How much likelier ghosted exposures have such a sky than clean ones.

    Attributes
    ----------
    trees
        Log-odds of ghosted against clean exposures in equal numbers, which are the logarithm of the likelihood ratio.
    description
        Provenance, and what it reaches on nights that it was not fitted to.
    """

    trees: BoostedTrees
    description: dict[str, Any]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """
        Read the law of the package, or another.

        Raises
        ------
        InputError
            If the file is missing or damaged, or of another version of the code.
        """
        return cls(*_load(path))

    def write(self, path: Path) -> None:
        """Write the law without pickles."""
        write_npz(path, self.trees.arrays("prior"), {**self.description, **_MEANING})

    def probability(self, expected: Forecast, prevalence: float = SURVEY_PREVALENCE) -> float:
        """
        Probability that an exposure has ghosts or Rays that people would mark.

        Parameters
        ----------
        expected : Forecast
        prevalence : float
            Share of such exposures among all, in (0, 1).
        """
        log_odds = float(self.trees.log_odds(prior_features(expected)[None])[0])
        return float(1 / (1 + np.exp(-log_odds) * (1 - prevalence) / prevalence))


@cache
def _load(path: Path | None) -> tuple[BoostedTrees, dict[str, Any]]:
    """Read a file once."""
    description, arrays = read_fitted(PRIOR_FILE, path, _MEANING)
    return BoostedTrees.of_arrays(arrays, "prior"), description


def prior_features(expected: Forecast) -> Floats:
    """(17,) `PRIOR_FEATURES` of an exposure."""
    nearby = expected.nearby
    annulus = np.digitize(nearby.angles_deg, ANNULI_DEG) - 1
    brightest = np.full(len(ANNULI_DEG) - 1, _NO_STAR_MAG)
    inside = annulus < len(brightest)
    np.minimum.at(brightest, annulus[inside], nearby.magnitudes[inside])
    drawn, rays = expected.drawn, expected.rays
    areas = np.exp(expected.ghosts.features[:, GHOST_FEATURES.index("log_area")])
    summed = [float(drawn.max(initial=0)), float(drawn.sum()), float((drawn * areas).sum()) / np.prod(PREVIEW_SHAPE)]
    return np.array([*brightest, *summed, float(rays.max()), float(rays.sum())])
