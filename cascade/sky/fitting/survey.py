"""Exposures of a survey that nobody annotated: those that its exclude lists name, and those that they do not."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera, night_of
from cascade.core.errors import InputError
from cascade.optics.bank import OpticsBank
from cascade.sky.catalogue import BrightStars
from cascade.sky.fitting.annotated import covered
from cascade.sky.fitting.physics import BANDS
from cascade.sky.fitting.trees import fit_trees
from cascade.sky.forecast import Forecast, predicted_artifacts
from cascade.sky.ghosts import Ghosts, possible_ghosts
from cascade.sky.laws import Levels
from cascade.sky.nearby import NearbyStars
from cascade.sky.pointing import FIRST_LIGHT_MJD, Pointing
from cascade.sky.prior import PriorLaw

Floats = npt.NDArray[np.float64]

SURVEY_FILE = "sky/exposures.csv.gz"
LISTS = "sky/exclude_lists"
PROGRAM = "des"


@dataclass(frozen=True, eq=False)
class SurveyExposure:
    """
    An exposure of the survey.

    Attributes
    ----------
    expnum
    night
        YYYYMMDD of the evening.
    nearby, ghosts
        The stars around its pointing and what they can make.
    listed
        (62,) whether an exclude list names each CCD.
    """

    expnum: int
    night: int
    nearby: NearbyStars
    ghosts: Ghosts
    listed: npt.NDArray[np.bool_]


def read_survey(data: Path, bank: OpticsBank, stars: BrightStars) -> list[SurveyExposure]:
    """
    Read the exposures of the DES wide survey in g, r, i, z and Y.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    camera = Camera.decam()
    try:
        listed = _read_lists(data / LISTS)
        with gzip.open(data / SURVEY_FILE, "rt", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["program"] == PROGRAM and row["band"] in BANDS]
    except (OSError, KeyError, ValueError) as error:
        msg = f"{data / SURVEY_FILE}: expected the exposures of a survey and its lists, got {error!r}"
        raise InputError(msg) from error
    exposures = []
    for row in rows:
        mjd = float(row["mjd"] or "nan")
        night = night_of(mjd, camera)
        if night is None or mjd < FIRST_LIGHT_MJD:
            continue
        nearby = NearbyStars.of(Pointing(float(row["ra"]), float(row["dec"]), row["band"], mjd), stars)
        named = np.isin([ccd.ccdnum for ccd in camera.ccds], list(listed.get(int(row["expnum"]), ())))
        number = int(night.strftime("%Y%m%d"))
        exposures.append(SurveyExposure(int(row["expnum"]), number, nearby, possible_ghosts(nearby, bank), named))
    return exposures


def _read_lists(folder: Path) -> dict[int, set[int]]:
    """CCDs by expnum from lists of ``date expnum ccd id ccdnum``."""
    listed: dict[int, set[int]] = {}
    for path in sorted(folder.glob("*.txt")):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) == 5 and not line.startswith("#"):
                listed.setdefault(int(words[1]), set()).add(int(words[4]))
    if not listed:
        msg = "no list"
        raise ValueError(msg)
    return listed


def fit_prior(ghosted: Floats, clean: Floats) -> PriorLaw:
    """Fit the likelihood ratio to rows of `prior_features` of both kinds of exposures, which weigh the same in all."""
    labels = np.repeat([True, False], [len(ghosted), len(clean)])
    weights = np.where(labels, len(labels) / 2 / len(ghosted), len(labels) / 2 / len(clean))
    features = np.concatenate([ghosted, clean])
    trees = fit_trees(features, labels, n_trees=200, learning_rate=0.04, min_leaf=30, weights=weights)
    return PriorLaw(trees, {})


def shares(
    survey: Sequence[SurveyExposure], expected: Sequence[Forecast], flagged: npt.NDArray[np.bool_], levels: Levels
) -> dict[str, list[float]]:
    """
    By band and by year: exposures; shares of exposures listed, predicted, both; shares of CCDs listed, predicted.
    """
    listed = np.array([one.listed for one in survey])
    predicted = np.zeros_like(listed)
    for n, one in enumerate(expected):
        artifacts = predicted_artifacts(one, levels) if flagged[n] else []
        if artifacts:
            predicted[n] = covered(np.any([its.mask for its in artifacts], axis=0))
    groups = {f"band {band}": [one.nearby.pointing.band == band for one in survey] for band in BANDS}
    years = [one.night // 10000 for one in survey]
    groups |= {f"year {year}": [its == year for its in years] for year in sorted(set(years))}
    groups["all"] = [True] * len(survey)
    found = {}
    for name, chosen in groups.items():
        some = np.array(chosen)
        if some.any():
            parts = [kind[some] for kind in (listed, predicted)]
            both = (parts[0].any(axis=1) & parts[1].any(axis=1)).mean()
            numbers = [*(kind.any(axis=1).mean() for kind in parts), both, *(kind.mean() for kind in parts)]
            found[name] = [int(some.sum()), *(round(float(number), 4) for number in numbers)]
    return found
