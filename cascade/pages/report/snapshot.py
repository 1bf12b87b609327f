"""The statistics in a report, computed once from the tables of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cascade.camera import Camera, night_of
from cascade.runs.classes import check_known
from cascade.runs.files import read_run_json
from cascade.runs.run import Run
from cascade.runs.tables import SCHEMAS, RunSummary
from cascade.runs.verdicts.doubt import doubts, rows_of
from cascade.veto import VetoList, VetoRule, veto_rows

UNKNOWN = "unknown"
"""The night or band of an exposure whose input does not give it."""

MISSED, UNFORESEEN = "predicted, not found", "found, not predicted"

NOT_COMPARED = "not compared"
"""What is said of an exposure that failed, or that has no prediction."""

N_BINS = 50

BAND_ORDER = "ugrizY"
"""Bands by wavelength; others follow by name."""

_N_EXAMPLES = 3

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """
    Predictions for the exposures of a run; exposures are its rows of the exposures table.

    Attributes
    ----------
    path
        The run of predictions, as a person would name it.
    states
        (N,) what is said of each exposure.
    artifacts
        Rows of the artifacts table of the predictions, by exposure.
    missed, unforeseen
        Numbers of the CCDs that the default rule vetoes for what is predicted alone, and for what was found alone, by
        exposure; of those that are compared.
    """

    path: str
    states: list[str]
    artifacts: Mapping[int, list[dict[str, Any]]]
    missed: Mapping[int, list[int]]
    unforeseen: Mapping[int, list[int]]

    @property
    def n_compared(self) -> int:
        """Exposures with a prediction that did not fail."""
        return sum(state != NOT_COMPARED for state in self.states)

    def column(self, rows: Sequence[int]) -> dict[str, Any]:
        """What pages filter exposures by: the words for each state, that of each exposure, and its numbers of CCDs."""
        words = sorted({*self.states, MISSED, UNFORESEEN})
        return {
            "states": words,
            "state": [words.index(self.states[row]) for row in rows],
            "ccds": {
                f"CCDs {MISSED}": [len(self.missed.get(row, ())) for row in rows],
                f"CCDs {UNFORESEEN}": [len(self.unforeseen.get(row, ())) for row in rows],
            },
        }


@dataclass(frozen=True, slots=True, eq=False)
class RunSnapshot:
    """
    The content of a run that a report shows.

    Attributes
    ----------
    run
        The run.
    header
        Its ``run.json``.
    summary
        Its progress.
    camera
        Its camera.
    tables
        Its tables, by name.
    vetoes
        CCDs vetoed by the default rule.
    doubt
        (N,) in [0, 1], see `cascade.runs.verdicts.doubt.doubts`.
    nights, bands
        (N,) labels of the exposures; `UNKNOWN` where the input does not give them.
    predictions
        What the sky predicts for the exposures; None if nobody asked.
    """

    run: Run
    header: Mapping[str, Any]
    summary: RunSummary
    camera: Camera
    tables: Mapping[str, pa.Table]
    vetoes: VetoList
    doubt: npt.NDArray[np.float64]
    nights: npt.NDArray[np.str_]
    bands: npt.NDArray[np.str_]
    predictions: Predictions | None = None

    @property
    def flagged(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: exposures that went to the segmenter."""
        return np.asarray(self.tables["exposures"]["flagged"].to_numpy(zero_copy_only=False), bool)

    def rows_of(self, table: str) -> npt.NDArray[np.intp]:
        """Rows in the exposures table of the exposures that the rows of another table belong to."""
        positions = self.tables["exposures"]["exposure"].to_numpy()
        return rows_of(positions, self.tables[table]["exposure"].to_numpy())


@dataclass(frozen=True, slots=True)
class NightRow:
    """Exposures of one night in one band."""

    night: str
    band: str
    n_exposures: int
    n_flagged: int
    n_ghosted: int


@dataclass(frozen=True, slots=True)
class Cause:
    """Why exposures failed: the stage, the reason, how many, and a few of them."""

    stage: str
    reason: str
    n: int
    examples: tuple[str, ...]


def take_snapshot(run: Run) -> RunSnapshot:
    """
    Read the tables of a run, finished or not.

    Raises
    ------
    StoreError
        If a table or ``run.json`` is missing or damaged, or the run has unknown classes.
    """
    camera = Camera.load(run.config.camera)
    check_known(run.config.classes, run.path)
    tables = {name: run.table(name) for name in SCHEMAS}
    exposures = tables["exposures"]
    return RunSnapshot(
        run=run,
        header=read_run_json(run.storage),
        summary=run.summary(),
        camera=camera,
        tables=tables,
        vetoes=veto_rows(tables["ccds"], exposures, VetoRule(), camera),
        doubt=doubts(exposures, tables["artifacts"]),
        nights=_nights(exposures, camera),
        bands=np.array([band or UNKNOWN for band in exposures["band"].to_pylist()], str),
    )


def per_night(snapshot: RunSnapshot) -> list[NightRow]:
    """Count exposures by night and band, rising; unknown nights come last."""
    ghosted = np.array(snapshot.tables["exposures"]["status"].to_pylist()) == "ghosted"
    counted: dict[tuple[str, str], list[int]] = {}
    for night_, band, flagged, ghost in zip(snapshot.nights, snapshot.bands, snapshot.flagged, ghosted, strict=True):
        counts = counted.setdefault((str(night_), str(band)), [0, 0, 0])
        counts[0] += 1
        counts[1] += bool(flagged)
        counts[2] += bool(ghost)
    ordered = sorted(counted, key=lambda key: (key[0] == UNKNOWN, key[0], band_rank(key[1])))
    return [NightRow(*key, *counted[key]) for key in ordered]


def band_rank(band: str) -> tuple[int, str]:
    """Sort key of a band."""
    place = BAND_ORDER.find(band)
    return (place if place >= 0 else len(BAND_ORDER), band)


def highest_share(rows: Sequence[NightRow]) -> float:
    """The largest flagged share of a night in a band, in [0, 1]."""
    return max((row.n_flagged / row.n_exposures for row in rows), default=0.0)


def vetoes_per_ccd(snapshot: RunSnapshot) -> dict[int, int]:
    """Number of exposures in which each CCD is vetoed, by ccdnum."""
    counts = Counter(snapshot.vetoes.table["ccdnum"].to_pylist())
    return {ccd.ccdnum: counts[ccd.ccdnum] for ccd in snapshot.camera.ccds}


def score_histogram(snapshot: RunSnapshot) -> Int64Array:
    """Count exposures by screen score, in `N_BINS` equal bins of [0, 1]."""
    scores = snapshot.tables["exposures"]["screen_score"].drop_null().to_numpy()
    return np.histogram(scores, bins=N_BINS, range=(0, 1))[0].astype(np.int64)


def causes(snapshot: RunSnapshot) -> list[Cause]:
    """Failures by stage and reason, the most frequent first."""
    counted: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[str]] = {}
    for row in snapshot.tables["failures"].to_pylist():
        cause = (row["stage"], row["error"].removeprefix(f"{row['path']}: "))
        counted[cause] += 1
        if len(found := examples.setdefault(cause, [])) < _N_EXAMPLES:
            found.append(row["path"])
    return [Cause(*cause, n, tuple(examples[cause])) for cause, n in counted.most_common()]


def _nights(exposures: pa.Table, camera: Camera) -> npt.NDArray[np.str_]:
    """Night of each exposure, ISO dates."""
    nights = (night_of(mjd_obs, camera) for mjd_obs in exposures["mjd_obs"].to_pylist())
    return np.array([UNKNOWN if night is None else night.isoformat() for night in nights], str)
