"""How well laws do on nights that they were not fitted to: CCD F1, instance F1 and what a probability means."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from cascade.core.artifact import Artifact
from cascade.sky.fitting.annotated import Annotated, covered
from cascade.sky.fitting.fit import fit_ghosts, fit_rays
from cascade.sky.forecast import Forecast, PredictedArtifact, predicted_artifacts
from cascade.sky.laws import Levels, SkyLaws

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

logger = logging.getLogger(__name__)

CLASS_SETS = {
    "Bright+Faint": (Artifact.BRIGHT, Artifact.FAINT),
    "Rays": (Artifact.RAYS,),
    "Rays+Bright": (Artifact.RAYS, Artifact.BRIGHT),
    "All": (Artifact.BRIGHT, Artifact.FAINT, Artifact.RAYS),
}

_LEVELS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
_MIN_OVERLAP = 0.5
_BOOTSTRAPS = 1000
_RELIABILITY_EDGES = (0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, eq=False)
class Scored:
    """
    One exposure's predictions against what people drew.

    Attributes
    ----------
    night
    ccds
        By class set, (62,) predicted and drawn.
    instances
        Matched Bright and Faint instances whatever their class, and predicted and drawn ones together.
    """

    night: int
    ccds: dict[str, tuple[Bools, Bools]]
    instances: tuple[int, int]


def fold_of(exposures: Sequence[Annotated], n_folds: int) -> npt.NDArray[np.int64]:
    """Number of each exposure's fold: nights are never divided, and dealt out in turn by their number of exposures."""
    nights, counts = np.unique([one.night for one in exposures], return_counts=True)
    sizes, folds = np.zeros(n_folds, int), {}
    for night in np.argsort(-counts, kind="stable"):
        folds[int(nights[night])] = int(sizes.argmin())
        sizes[sizes.argmin()] += counts[night]
    return np.array([folds[one.night] for one in exposures])


def laws_without(exposures: Sequence[Annotated], folds: npt.NDArray[np.int64]) -> list[SkyLaws]:
    """For each fold, laws fitted to the others."""
    found = []
    for fold in range(int(folds.max()) + 1):
        others = [one for one, its in zip(exposures, folds, strict=True) if its != fold]
        found.append(SkyLaws(fit_ghosts(others), fit_rays(others), Levels(0.5, 0.5, 0.5), {}))
        logger.info("fold %d of %d", fold + 1, folds.max() + 1)
    return found


@dataclass(frozen=True, eq=False)
class Validation:
    """
    Forecasts of exposures by laws that did not know them, scored at any levels.

    Attributes
    ----------
    exposures
    expected
        Their forecasts by the laws of their fold, see `laws_without`.
    folds
        Number of each exposure's fold.
    flagged
        Of which exposures anything is predicted.
    """

    exposures: Sequence[Annotated]
    expected: Sequence[Forecast]
    folds: npt.NDArray[np.int64]
    flagged: Bools
    _scored: dict[Levels, list[Scored]] = field(default_factory=dict)

    @cached_property
    def _drawn(self) -> list[dict[str, Bools]]:
        """CCDs that people marked, by class set."""
        return [{name: one.ccds(*classes) for name, classes in CLASS_SETS.items()} for one in self.exposures]

    def scored(self, levels: Levels) -> list[Scored]:
        """Every exposure at some levels."""
        if levels not in self._scored:
            rows = zip(self.exposures, self.expected, self._drawn, self.flagged, strict=True)
            self._scored[levels] = [
                _score(exposure, predicted_artifacts(its, levels) if flagged else [], drawn)
                for exposure, its, drawn, flagged in rows
            ]
        return self._scored[levels]

    def best_levels(self, chosen: npt.NDArray[np.intp]) -> Levels:
        """Levels of the highest CCD F1 on some exposures: Bright+Faint for ghosts, then Rays, then Rays+Bright."""

        def highest(name: str, options: Callable[[float], Levels]) -> float:
            return max(_LEVELS, key=lambda level: ccd_f1([self.scored(options(level))[n] for n in chosen], name))

        ghost = highest("Bright+Faint", lambda level: Levels(level, 1.0, 0.5))
        rays = highest("Rays", lambda level: Levels(1.0, level, 0.5))
        return Levels(ghost, rays, highest("Rays+Bright", lambda level: Levels(ghost, rays, level)))

    def nested(self) -> list[Scored]:
        """Each fold at the levels that are best on the others."""
        everything = np.arange(len(self.exposures))
        found = []
        for fold in np.unique(self.folds):
            levels = self.best_levels(everything[self.folds != fold])
            found += [self.scored(levels)[n] for n in everything[self.folds == fold]]
        return found


def _score(exposure: Annotated, artifacts: list[PredictedArtifact], drawn: dict[str, Bools]) -> Scored:
    """Compare one exposure's predictions with what people drew."""
    ccds = {}
    for name, classes in CLASS_SETS.items():
        masks = [one.mask for one in artifacts if one.artifact in classes]
        predicted = covered(np.any(masks, axis=0)) if masks else np.zeros_like(drawn[name])
        ccds[name] = predicted, drawn[name]
    rings = [one for one in artifacts if one.artifact is not Artifact.RAYS]
    outlined = [mask for _, mask in exposure.rings()]
    return Scored(exposure.night, ccds, (_matches(rings, outlined), len(rings) + len(outlined)))


def _matches(predicted: list[PredictedArtifact], drawn: list[Bools]) -> int:
    """Pairs of intersection over union .5 or more, the best first."""
    overlaps = np.array(
        [[np.count_nonzero(p.mask & d) / np.count_nonzero(p.mask | d) for d in drawn] for p in predicted]
    )
    n = 0
    while overlaps.size and overlaps.max() >= _MIN_OVERLAP:
        row, column = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        overlaps[row], overlaps[:, column] = 0, 0
        n += 1
    return n


def ccd_f1(scored: Sequence[Scored], name: str) -> float:
    """F1 pooled over the CCDs of all exposures."""
    predicted, drawn = (np.array([one.ccds[name][side] for one in scored]) for side in (0, 1))
    total = predicted.sum() + drawn.sum()
    return float(2 * (predicted & drawn).sum() / total) if total else 1.0


def instance_f1(scored: Sequence[Scored]) -> float:
    """F1 of Bright and Faint instances, whatever their class."""
    matched, total = np.sum([one.instances for one in scored], axis=0)
    return float(2 * matched / total) if total else 1.0


def figures(scored: Sequence[Scored]) -> dict[str, list[float]]:
    """Each figure with its 95 % interval, from draws of nights with replacement."""
    measures: dict[str, Callable[[Sequence[Scored]], float]] = {
        f"CCD F1, {name}": partial(ccd_f1, name=name) for name in CLASS_SETS
    }
    measures["instance F1@.5, Bright+Faint"] = instance_f1
    by_night: dict[int, list[Scored]] = {}
    for one in scored:
        by_night.setdefault(one.night, []).append(one)
    nights, rng = list(by_night), np.random.default_rng(0)
    draws = [
        [one for night in rng.choice(nights, len(nights)) for one in by_night[int(night)]] for _ in range(_BOOTSTRAPS)
    ]
    return {
        name: [
            round(value, 3) for value in (measure(scored), *np.quantile([measure(d) for d in draws], (0.025, 0.975)))
        ]
        for name, measure in measures.items()
    }


def reliability(
    probabilities: Floats, happened: Bools, edges: Sequence[float] = _RELIABILITY_EDGES
) -> list[list[float]]:
    """Of each bin of probability its number, mean probability and share that happened; empty bins are left out."""
    bins = np.digitize(probabilities, edges)
    chosen = [bins == n for n in range(len(edges) + 1)]
    return [
        [int(some.sum()), round(float(probabilities[some].mean()), 4), round(float(happened[some].mean()), 4)]
        for some in chosen
        if some.any()
    ]
