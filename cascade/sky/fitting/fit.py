"""Fits the laws of ghosts and Rays to annotated exposures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cascade.core.artifact import Artifact
from cascade.sky.boosted_trees import BoostedTrees
from cascade.sky.fitting.annotated import Annotated
from cascade.sky.fitting.assignment import assign
from cascade.sky.fitting.trees import fit_trees
from cascade.sky.ghosts import GHOST_FEATURES, GhostLaw
from cascade.sky.rays import RaysLaw, field_features, star_features, throwing_stars

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MAGNITUDE, _CONTRAST = GHOST_FEATURES.index("magnitude"), GHOST_FEATURES.index("log_contrast")
_ROUNDS = 3  # of assigning shapes to ghosts, or Rays to stars, and fitting; more change nothing
_LEAST_WEIGHT = 1e-3


def fit_ghosts(exposures: Sequence[Annotated]) -> GhostLaw:
    """Fit which ghosts are drawn, and which of these are called Bright."""
    features = np.concatenate([one.ghosts.features for one in exposures])
    ends = np.cumsum([len(one.ghosts) for one in exposures])[:-1]
    # A first guess: what is bright against the sky, but seldom of stars fainter than 4.5.
    log_probability = 2 * features[:, _CONTRAST] - 3 - 3 * (features[:, _MAGNITUDE] > 4.5)
    for _ in range(_ROUNDS):
        shapes = assign(exposures, np.split(log_probability, ends))
        drawn = np.concatenate(shapes) >= 0
        law = fit_trees(features, drawn, n_trees=150, learning_rate=0.05, min_leaf=20, falling=(_MAGNITUDE,))
        log_probability = np.log(np.maximum(law.probability(features), 1e-4))
    called_bright = [
        [shape >= 0 and exposure.rings()[shape][0] is Artifact.BRIGHT for shape in chosen]
        for exposure, chosen in zip(exposures, shapes, strict=True)
    ]
    bright = np.concatenate([np.array(one, bool) for one in called_bright])[drawn]
    return GhostLaw(law, fit_trees(features[drawn], bright, n_trees=60, learning_rate=0.05, min_leaf=20))


def fit_rays(exposures: Sequence[Annotated]) -> RaysLaw:
    """Fit which CCDs have Rays."""
    marked = np.array([one.ccds(Artifact.RAYS) for one in exposures])
    field = np.concatenate([field_features(one.nearby) for one in exposures])
    by_field = fit_trees(field, marked.ravel(), n_trees=300, learning_rate=0.03, min_leaf=40)
    rows, cells = [], []
    places = np.arange(marked.shape[1])
    for n, exposure in enumerate(exposures):
        for star in throwing_stars(exposure.nearby):
            rows.append(star_features(exposure.nearby, int(star)))
            cells.append(n * marked.shape[1] + places)
    features, cell = np.concatenate(rows), np.concatenate(cells)
    labels = marked.ravel()[cell]
    share = labels.astype(np.float64)  # of a CCD's Rays that this star is responsible for
    for _ in range(_ROUNDS):
        by_star = _fit_shares(features, labels, share)
        alone = by_star.probability(features)
        together = 1 - np.exp(_sum_by_cell(np.log1p(-np.clip(alone, 0, 0.995)), cell, marked.size))
        share = np.where(labels, np.clip(alone / np.maximum(together[cell], 1e-6), 0, 1), 0.0)
    return RaysLaw(by_star, by_field)


def _sum_by_cell(values: Floats, cell: npt.NDArray[np.intp], n_cells: int) -> Floats:
    """Sum what several stars do to the same CCD of the same exposure."""
    return np.asarray(np.bincount(cell, values, n_cells), np.float64)


def _fit_shares(features: Floats, labels: Bools, share: Floats) -> BoostedTrees:
    """Fit to labels that hold in part: each row counts as a positive with its share, as a negative with the rest."""
    positive = np.flatnonzero(labels & (share > _LEAST_WEIGHT))
    rows = np.concatenate([features, features[positive]])
    weights = np.concatenate([1 - share, share[positive]])
    is_positive = np.arange(len(rows)) >= len(features)
    kept = weights > _LEAST_WEIGHT
    return fit_trees(
        rows[kept],
        is_positive[kept],
        n_trees=150,
        learning_rate=0.06,
        min_leaf=60,
        falling=(0,),
        weights=weights[kept],
    )
