"""
Fit the laws of the sky: ``python -m cascade.sky.fitting --data ../shared/data``.

Reads the annotated exposures whose pointing is exact and those of a survey with its exclude lists, validates laws by
nights (each fold with laws and levels of the others), fits them to all exposures, and writes ``sky_laws.npz`` and
``sky_prior.npz`` into the package and the figures as JSON. An hour on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.metrics import roc_auc_score

from cascade.core.artifact import Artifact
from cascade.optics.bank import OpticsBank
from cascade.sky.catalogue import BrightStars
from cascade.sky.fitting.annotated import EXPOSURES_FILE, REGIONS_FILE, Annotated, read_annotated
from cascade.sky.fitting.assignment import assign
from cascade.sky.fitting.fit import fit_ghosts, fit_rays
from cascade.sky.fitting.physics import with_intervals
from cascade.sky.fitting.survey import SURVEY_FILE, SurveyExposure, fit_prior, read_survey, shares
from cascade.sky.fitting.validate import CLASS_SETS, Validation, figures, fold_of, laws_without, reliability
from cascade.sky.forecast import Forecast
from cascade.sky.laws import BUILD_COMMAND, LAWS_FILE, SkyLaws
from cascade.sky.prior import PRIOR_FILE, THRESHOLD, PriorLaw, prior_features

Ints = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)

_N_FOLDS = 5


def main() -> None:
    """Validate, fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the annotated exposures")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1], help="folder of the laws")
    parser.add_argument("--figures", type=Path, default=Path("benchmarks/results/sky_laws.json"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    bank, stars = OpticsBank.load(), BrightStars.load()
    exposures = read_annotated(options.data, bank, stars)
    folds = fold_of(exposures, _N_FOLDS)
    logger.info("%d exposures of %d nights", len(exposures), len({one.night for one in exposures}))
    without = laws_without(exposures, folds)
    expected = [Forecast.of(one.nearby, one.ghosts, without[fold]) for one, fold in zip(exposures, folds, strict=True)]
    survey = read_survey(options.data, bank, stars)
    survey_folds = _folds_of_survey(survey, exposures, folds)
    of_survey = [
        Forecast.of(one.nearby, one.ghosts, without[fold]) for one, fold in zip(survey, survey_folds, strict=True)
    ]
    priors, prior, told = _priors(exposures, expected, folds, survey, of_survey, survey_folds)
    flagged = _flagged(expected, folds, priors)
    validation = Validation(exposures, expected, folds, flagged)
    provenance = {
        "format_version": 1,
        "made_by": BUILD_COMMAND,
        "exposures": len(exposures),
        "nights": len({one.night for one in exposures}),
        "folds": _N_FOLDS,
        "sources_sha256": {
            name: hashlib.sha256((options.data / name).read_bytes()).hexdigest()
            for name in (EXPOSURES_FILE, REGIONS_FILE, SURVEY_FILE)
        },
        "data_sha256": {"optics": bank.description["arrays_sha256"], "stars": stars.description["arrays_sha256"]},
        "scikit-learn": sklearn.__version__,
    }
    reached = figures(validation.nested())
    levels = validation.best_levels(np.arange(len(exposures)))
    description = {"format": "ghost-cascade sky laws", **provenance, "reached": reached}
    SkyLaws(fit_ghosts(exposures), fit_rays(exposures), levels, description).write(options.out / LAWS_FILE)
    for name, (value, low, high) in reached.items():
        logger.info("%s: %s [%s, %s]", name, value, low, high)
    PriorLaw(prior.trees, {"format": "ghost-cascade sky prior", **provenance, **told}).write(options.out / PRIOR_FILE)
    measured = {**description, "levels": asdict(levels), "prior": told, **_measured(exposures, expected)}
    measured["survey"] = shares(survey, of_survey, _flagged(of_survey, survey_folds, priors), levels)
    options.figures.write_text(json.dumps(measured, indent=1) + "\n")
    logger.info("%s %s", levels, told)


def _folds_of_survey(
    survey: Sequence[SurveyExposure], exposures: Sequence[Annotated], folds: Ints
) -> npt.NDArray[np.int64]:
    """The fold of each exposure of the survey: that of its night, or any for a night without annotated exposures."""
    of_night = {one.night: int(fold) for one, fold in zip(exposures, folds, strict=True)}
    return np.array([of_night.get(one.night, one.night % _N_FOLDS) for one in survey])


def _flagged(expected: Sequence[Forecast], folds: Ints, priors: Sequence[PriorLaw]) -> npt.NDArray[np.bool_]:
    """Whether anything is predicted of each exposure, by the prior of its fold."""
    odds = [priors[fold].probability(one) for one, fold in zip(expected, folds, strict=True)]
    return np.array(odds) >= THRESHOLD


def _priors(
    exposures: Sequence[Annotated],
    expected: Sequence[Forecast],
    folds: Ints,
    survey: Sequence[SurveyExposure],
    of_survey: Sequence[Forecast],
    survey_folds: Ints,
) -> tuple[list[PriorLaw], PriorLaw, dict[str, Any]]:
    """The laws of exposures of each fold and of all, and how well they tell annotated ones from unlisted ones."""
    unlisted = np.array([not one.listed.any() for one in survey])
    ghosted = np.array([prior_features(one) for one in expected])
    clean = np.array([prior_features(one) for one, its in zip(of_survey, unlisted, strict=True) if its])
    clean_folds = survey_folds[unlisted]
    odds_ghosted, odds_clean = np.zeros(len(ghosted)), np.zeros(len(clean))
    priors = [fit_prior(ghosted[folds != fold], clean[clean_folds != fold]) for fold in range(_N_FOLDS)]
    for fold, law in enumerate(priors):
        odds_ghosted[folds == fold] = law.trees.log_odds(ghosted[folds == fold])
        odds_clean[clean_folds == fold] = law.trees.log_odds(clean[clean_folds == fold])
    told: dict[str, Any] = {"clean": len(clean), "listed": int((~unlisted).sum())}
    for name, classes in CLASS_SETS.items():
        marked = np.array([any(region.artifact in classes for region in one.regions) for one in exposures])
        labels = np.repeat([True, False], [marked.sum(), len(clean)])
        odds = np.concatenate([odds_ghosted[marked], odds_clean])
        told[f"ROC AUC, {name}"] = round(float(roc_auc_score(labels, odds)), 4)
        level = np.quantile(odds_ghosted[marked], 0.05)
        told[f"clean above recall .95, {name}"] = round(float((odds_clean > level).mean()), 4)
    return priors, fit_prior(ghosted, clean), told


def _measured(exposures: Sequence[Annotated], expected: Sequence[Forecast]) -> dict[str, Any]:
    """What probabilities mean, and the law with named parameters."""
    shapes = assign(exposures, [np.log(np.maximum(one.drawn, 1e-4)) for one in expected])
    drawn = [one >= 0 for one in shapes]
    ghosts, rays = np.concatenate([one.drawn for one in expected]), np.concatenate([one.rays for one in expected])
    marked = np.concatenate([one.ccds(Artifact.RAYS) for one in exposures])
    return {
        "reliability": {
            "drawn ghosts": reliability(ghosts, np.concatenate(drawn)),
            "CCDs with Rays": reliability(rays, marked),
        },
        "visibility": with_intervals(exposures, drawn),
    }


if __name__ == "__main__":
    main()
