"""What the sky alone says of an exposure: the ghosts and Rays that its stars make, each with a probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray, Instances, tight_boxes
from cascade.optics.bank import OpticsBank
from cascade.sky.catalogue import BrightStars
from cascade.sky.ghosts import FAMILIES, Ghosts, possible_ghosts
from cascade.sky.laws import Levels, SkyLaws
from cascade.sky.nearby import NearbyStars
from cascade.sky.pointing import Pointing
from cascade.sky.rays import sector

Floats = npt.NDArray[np.float64]

_SAME_OUTLINE = 0.7  # intersection over union from which on people draw two ghosts as one


@dataclass(frozen=True, eq=False)
class Forecast:
    """
    Everything that stars may do to one exposure.

    Attributes
    ----------
    nearby
        The stars.
    ghosts
        The N ghosts that they can make.
    drawn, bright
        (N,) probabilities that people draw each, and that they call it Bright.
    rays
        (62,) probability of Rays on each CCD, by rising ccdnum.
    rays_star
        (62,) row of the star in `nearby` that most likely throws them; -1: none.
    """

    nearby: NearbyStars
    ghosts: Ghosts
    drawn: Floats
    bright: Floats
    rays: Floats
    rays_star: npt.NDArray[np.intp]

    @classmethod
    def of(cls, nearby: NearbyStars, ghosts: Ghosts, laws: SkyLaws) -> Forecast:
        """Apply the laws."""
        drawn, bright = (law.probability(ghosts.features) for law in (laws.ghosts.drawn, laws.ghosts.bright))
        return cls(nearby, ghosts, drawn, bright, *laws.rays.probabilities(nearby))


@dataclass(frozen=True, eq=False)
class PredictedArtifact:
    """
    A ghost, or the Rays of one star, that the sky predicts.

    Attributes
    ----------
    artifact
        Its class.
    probability
        That people would mark it; of Rays, the highest on any CCD.
    star
        Index of the star in the catalogue.
    pair
        Surfaces that reflect, see `FAMILIES`; None for Rays.
    mask
        (400, 400) bool.
    """

    artifact: Artifact
    probability: float
    star: int
    pair: str | None
    mask: BoolArray


def forecast(pointing: Pointing, laws: SkyLaws, *, bank: OpticsBank, stars: BrightStars) -> Forecast:
    """
    Apply the laws to the stars around a pointing.

    Raises
    ------
    ConfigError
        If the band is unknown.
    """
    nearby = NearbyStars.of(pointing, stars)
    return Forecast.of(nearby, possible_ghosts(nearby, bank), laws)


def predicted_artifacts(expected: Forecast, levels: Levels) -> list[PredictedArtifact]:
    """
    What is predicted at some levels: by falling probability, of ghosts with nearly the same outline the likeliest.
    """
    families = list(FAMILIES)
    found: list[PredictedArtifact] = []
    outlines: list[tuple[BoolArray, int]] = []
    likely = np.flatnonzero(expected.drawn > levels.ghost)
    for ghost in likely[np.argsort(-expected.drawn[likely], kind="stable")]:
        mask = expected.ghosts.mask(int(ghost))
        area = int(np.count_nonzero(mask))
        if not any(_is_same(mask, area, *earlier) for earlier in outlines):
            outlines.append((mask, area))
            artifact = Artifact.BRIGHT if expected.bright[ghost] > levels.bright else Artifact.FAINT
            star = int(expected.nearby.index[expected.ghosts.star[ghost]])
            pair = families[expected.ghosts.family[ghost]]
            found.append(PredictedArtifact(artifact, float(expected.drawn[ghost]), star, pair, mask))
    ccdnums = np.array([ccd.ccdnum for ccd in Camera.decam().ccds])
    reached = (expected.rays > levels.rays) & (expected.rays_star >= 0)
    for star in np.unique(expected.rays_star[reached]):
        of_star = reached & (expected.rays_star == star)
        mask = sector(float(expected.nearby.azimuths_deg[star]), ccdnums[of_star])
        highest, index = float(expected.rays[of_star].max()), int(expected.nearby.index[star])
        found.append(PredictedArtifact(Artifact.RAYS, highest, index, None, mask))
    return sorted(found, key=lambda one: -one.probability)


def instances_of(artifacts: list[PredictedArtifact]) -> Instances:
    """Predictions in the form of a network's detections; the score is the probability."""
    if not artifacts:
        return Instances.empty(PREVIEW_SHAPE)
    masks = np.stack([one.mask for one in artifacts])
    scores = np.array([one.probability for one in artifacts], np.float32)
    return Instances(np.array([one.artifact for one in artifacts], np.uint8), scores, tight_boxes(masks), masks)


def _is_same(mask: BoolArray, area: int, other: BoolArray, other_area: int) -> bool:
    """Whether two outlines overlap so much that people draw one of them."""
    if min(area, other_area) < _SAME_OUTLINE * max(area, other_area):
        return False
    both = int(np.count_nonzero(mask & other))
    return both >= _SAME_OUTLINE * (area + other_area - both)
