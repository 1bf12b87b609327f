"""Inter-annotator agreement: the level that no model can be expected to exceed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np

from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.core.exposure import BoolArray
from cascade.evaluate.bootstrap import FloatArray, f1_score, interval
from cascade.evaluate.ccd import GROUPS
from cascade.evaluate.counting import CcdCells, IntArray
from cascade.evaluate.curves import AREA_THRESHOLDS, CCD_METRICS, ccd_hits, human_hits, medians
from cascade.evaluate.instances import MATCHED, OVERLAPS, all_match_counts
from cascade.evaluate.labelling import Labelling
from cascade.evaluate.pixels import iou, mutual_overlap_px
from cascade.evaluate.sections import entry, human_ccd_section, numbers
from cascade.evaluate.systems import annotator_labellings
from cascade.evaluate.truth import Truth
from cascade.inputs import expnum_from_name
from cascade.storage.atomic import read_json

AGREEMENT_FORMAT = "ghost-cascade agreement"
FORMAT_VERSION = 1

_HUMAN = {"n_annotators", "area_thresholds", "ccd", "pixels", "instances", "boxes", "screening"}


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """
    The annotator study.

    Attributes
    ----------
    metrics
        What `metrics.json` holds; see ``docs/metrics.md``.
    names
        Images.
    labellings
        The annotators over them.
    """

    metrics: dict[str, Any]
    names: tuple[str, ...]
    labellings: tuple[Labelling, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Mutual:
    """Counts between J annotators over N exposures; the last axis holds hits, the first, the second."""

    ccd_others: IntArray  # (J, N, geometry, threshold, group, 3)
    ccd_pairs: IntArray  # (J, J, group, 3), the paper's boxes at threshold 0
    pixel_others: IntArray  # (N, J, group, 3)
    pixel_pairs: IntArray  # (J, J, group, 3)
    match_pairs: IntArray  # (J, J, N, overlap, kind, 3)
    box_pairs: IntArray  # the same of boxes

    @classmethod
    def of(cls, labellings: Sequence[Labelling], cells: CcdCells, alive: BoolArray) -> _Mutual:
        """Compare all pairs of annotators."""
        n = len(labellings)
        pixel_pairs, pixel_others = mutual_overlap_px(labellings)
        ccd_pairs = np.zeros((n, n, len(GROUPS), 3), np.int32)
        match_pairs = np.zeros((n, n, len(labellings[0]), len(OVERLAPS), len(MATCHED), 3), np.int32)
        box_pairs = np.zeros_like(match_pairs)
        for a, b in combinations(range(n), 2):
            ccd_pairs[a, b] = ccd_hits([labellings[a]], labellings[b], cells, alive, (0.0,))[:, 0, 0].sum(axis=0)
            match_pairs[a, b] = all_match_counts(labellings[a], labellings[b])
            box_pairs[a, b] = all_match_counts(labellings[a], labellings[b], boxes=True)
            for pairs in (ccd_pairs, match_pairs, box_pairs):
                pairs[b, a] = pairs[a, b][..., [0, 2, 1]]
        others = human_hits(labellings, cells, alive, AREA_THRESHOLDS)
        return cls(others, ccd_pairs, pixel_others, pixel_pairs.sum(axis=0), match_pairs, box_pairs)


def study_agreement(truth: Truth, camera: Camera, *, n_resamples: int = 1000, seed: int = 0) -> Agreement:
    """
    Compare annotators with each other, in pairs and each with the majority of the others.

    Parameters
    ----------
    truth : Truth
        Of two annotators or more.
    camera : Camera
        DECam.
    n_resamples, seed : int
        Of the bootstrap over exposures.

    Raises
    ------
    ConfigError
        If there are fewer than two annotators.
    """
    if len(truth.annotators) < 2:
        msg = f"agreement: expected two annotators or more of the same images, got {', '.join(truth.annotators)}"
        raise ConfigError(msg)
    cells = CcdCells.of(camera)
    labellings = annotator_labellings(truth, truth.names, cells)
    alive = alive_ccds([expnum_from_name(name) for name in truth.names], camera)
    mutual = _Mutual.of(labellings, cells, alive)
    metrics = {
        "format": AGREEMENT_FORMAT,
        "format_version": FORMAT_VERSION,
        "annotators": list(truth.annotators),
        "exposures": exposures_section(truth, len(truth.names)),
        "bootstrap": {"n_resamples": n_resamples, "level": 0.95, "seed": seed},
        "pairs": _pairs_section(mutual),
        "leave_one_out": _others_section(mutual, np.random.default_rng(seed), n_resamples),
        "human": _human_section(mutual, labellings),
    }
    return Agreement(metrics, truth.names, tuple(labellings))


def human_line(labellings: Sequence[Labelling], cells: CcdCells, alive: BoolArray) -> dict[str, Any]:
    """
    What `evaluate` draws as the human line.

    Parameters
    ----------
    labellings : sequence of Labelling
        Two annotators or more, over N exposures.
    cells : CcdCells
    alive : ndarray of bool, shape (N, n_ccds)

    Returns
    -------
    dict
        The section ``human`` of `metrics.json`.
    """
    return _human_section(_Mutual.of(labellings, cells, alive), labellings)


def read_human_line(path: Path) -> dict[str, Any]:
    """
    Read the human line from what `cascade agreement` wrote.

    Parameters
    ----------
    path : Path
        Its folder, or its ``metrics.json``.

    Raises
    ------
    ConfigError
        If the file is of another format.
    StoreError
        If the file is not a JSON object.
    """
    file = path / "metrics.json" if path.is_dir() else path
    content = read_json(file)
    found = (content.get("format"), content.get("format_version"))
    human = content.get("human")
    if found != (AGREEMENT_FORMAT, FORMAT_VERSION) or not isinstance(human, dict) or human.keys() != _HUMAN:
        msg = f"{file}: expected the metrics.json of cascade agreement, got format {found[0]!r} version {found[1]!r}"
        raise ConfigError(msg)
    return human


def alive_ccds(expnums: Sequence[int | None], camera: Camera) -> BoolArray:
    """(N, n_ccds) bool: CCDs that were not entirely dead, by ccdnum - 1."""
    alive = np.ones((len(expnums), len(camera.ccds)), bool)
    for row, expnum in zip(alive, expnums, strict=True):
        row[[ccdnum - 1 for ccdnum in camera.dead_ccdnums(expnum)]] = False
    return alive


def exposures_section(truth: Truth, n_exposures: int) -> dict[str, Any]:
    """Numbers of exposures compared and left out, and of problems in the annotations."""
    kinds = [problem.kind for _, problem in truth.problems]
    return {
        "n": n_exposures,
        "left_out": {reason: len(names) for reason, names in truth.left_out.items()},
        "problems": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
    }


def _pairs_section(mutual: _Mutual) -> dict[str, Any]:
    """Matrices over annotators (first as truth, second as prediction); the diagonal is null."""
    ccd, pixels = f1_score(mutual.ccd_pairs), iou(mutual.pixel_pairs)
    matched = f1_score(mutual.match_pairs.sum(axis=2)[:, :, 0])
    for matrix in (ccd, pixels, matched):
        matrix[np.diag_indices(len(matrix))] = np.nan
    tables = {
        "ccd_f1": {group: ccd[..., k] for k, group in enumerate(GROUPS)},
        "pixel_iou": {group: pixels[..., k] for k, group in enumerate(GROUPS)},
        "instance_f1": {name: matched[..., k] for k, name in enumerate(MATCHED)},
    }
    return {
        what: {
            name: {"matrix": numbers(matrix), "median": numbers(_upper_median(matrix))}
            for name, matrix in by_group.items()
        }
        for what, by_group in tables.items()
    }


def _others_section(mutual: _Mutual, rng: np.random.Generator, n_resamples: int) -> dict[str, Any]:
    """Each annotator against the majority of the others (instances: against each of them, pooled)."""
    ccd = np.moveaxis(mutual.ccd_others[:, :, 0, 0], 0, 1)  # (N, J, group, 3), the paper's boxes at threshold 0
    matches = np.moveaxis(mutual.match_pairs.sum(axis=1)[:, :, 0], 0, 1)  # (N, J, kind, 3) at the first overlap
    tables = {
        "ccd_f1": (f1_score, ccd, tuple(GROUPS)),
        "pixel_iou": (iou, mutual.pixel_others, tuple(GROUPS)),
        "instance_f1": (f1_score, matches, MATCHED),
    }
    section: dict[str, Any] = {}
    for what, (statistic, counts, names) in tables.items():
        each = statistic(counts.sum(axis=0, dtype=np.int64))
        median = interval(_median_of(statistic), counts, rng, n_resamples=n_resamples)
        section[what] = {
            name: {"each": numbers(each[:, k]), "median": entry(median, k)} for k, name in enumerate(names)
        }
    return section


def _human_section(mutual: _Mutual, labellings: Sequence[Labelling]) -> dict[str, Any]:
    """Medians over annotators, in the forms of an evaluation."""
    pixels = np.nanmedian(_zero_where_undefined(iou(mutual.pixel_others.sum(axis=0, dtype=np.int64))), axis=0)
    return {
        "n_annotators": len(labellings),
        "area_thresholds": list(AREA_THRESHOLDS),
        "ccd": human_ccd_section(medians(mutual.ccd_others)),
        "pixels": {group: numbers(pixels[k]) for k, group in enumerate(GROUPS)},
        "instances": _matched_medians(mutual.match_pairs),
        "boxes": _matched_medians(mutual.box_pairs),
        "screening": _screening(np.stack([labelling.ghosted() for labelling in labellings])),
    }


def _matched_medians(match_pairs: IntArray) -> dict[str, Any]:
    """Medians over pairs of annotators, at each of `OVERLAPS`."""
    counts = match_pairs.sum(axis=2, dtype=np.int64)
    matched = np.stack([counts[pair] for pair in permutations(range(len(counts)), 2)])  # (pair, overlap, kind, 3)
    return {
        name: {metric: numbers(np.median(figure(matched[:, :, k]), axis=0)) for metric, figure in CCD_METRICS.items()}
        for k, name in enumerate(MATCHED)
    }


def _screening(ghosted: BoolArray) -> dict[str, Any] | None:
    """Median recall and false-alarm rate of annotators against the majority of the others; None if undefined."""
    found = []
    for j, own in enumerate(ghosted):
        truth = 2 * np.delete(ghosted, j, axis=0).sum(axis=0) > len(ghosted) - 1
        if truth.all() or not truth.any():
            return None
        found.append((own[truth].mean(), own[~truth].mean()))
    true, false = np.median(found, axis=0)
    return {"true_positive_rate": numbers(true), "false_positive_rate": numbers(false)}


def _median_of(statistic: Any) -> Any:  # noqa: ANN401
    """The median over annotators, (..., J, group, 3) to (..., group); an undefined figure counts as 0."""

    def median(totals: FloatArray) -> FloatArray:
        found: FloatArray = np.median(_zero_where_undefined(statistic(totals)), axis=-2)
        return found

    return median


def _zero_where_undefined(values: FloatArray) -> FloatArray:
    """0 for a class that no annotator drew."""
    return np.where(np.isfinite(values), values, 0.0)


def _upper_median(matrix: FloatArray) -> float:
    """Median over pairs; the matrices are symmetric."""
    values = matrix[np.triu_indices(len(matrix), 1)]
    return float(np.median(_zero_where_undefined(values)))
