"""The sections of `metrics.json`: plain numbers and lists, with null where a figure is undefined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray
from cascade.evaluate.average_precision import RECALLS, CocoResult, coco_result
from cascade.evaluate.bootstrap import (
    FloatArray,
    Interval,
    f1_score,
    interval,
    paired_difference,
    weighted_interval,
)
from cascade.evaluate.ccd import GROUPS
from cascade.evaluate.counting import GEOMETRIES, IntArray
from cascade.evaluate.curves import AREA_THRESHOLDS, CCD_METRICS, ccd_curves
from cascade.evaluate.instances import MATCHED, OVERLAPS, all_match_counts
from cascade.evaluate.labelling import Labelling
from cascade.evaluate.paper_ap import PAPER_GROUPS, mrcnn_ap, paper_ap
from cascade.evaluate.pixels import iou
from cascade.evaluate.screening import Confusion, curve, rates, reliability, roc_auc
from cascade.evaluate.systems import Answer

CLASSES = ("mean", *(artifact.title for artifact in Artifact))
COCO_FIGURES = ("AP", "AP50", "AP75")
_COCO_OF_OVERLAP = tuple(round((least - 0.5) / 0.05) for least in OVERLAPS)
_MOST_POINTS = 400
"""Points stored of a curve over thresholds."""


def number(value: float | np.floating[Any]) -> float | None:
    """A number for JSON, null where undefined; rounded to six digits."""
    return round(float(value), 6) if np.isfinite(value) else None


def numbers(values: npt.ArrayLike) -> Any:  # noqa: ANN401
    """Nested lists for JSON."""
    array = np.asarray(values, float)
    return number(float(array)) if array.ndim == 0 else [numbers(one) for one in array]


def entry(found: Interval, at: Any = ...) -> dict[str, Any]:  # noqa: ANN401
    """A figure with its interval for JSON, or the entries at an index."""
    return {name: numbers(getattr(found, name)[at]) for name in ("value", "low", "high")}


def ccd_section(hits: IntArray, rng: np.random.Generator, n_resamples: int) -> dict[str, Any]:
    """CCD metrics of one system: by geometry, then by group, each a list over `AREA_THRESHOLDS`."""
    curves = ccd_curves(hits, rng, n_resamples=n_resamples)
    return {
        geometry: {
            group: {
                **{name: entry(curves.metrics[name], (g, slice(None), k)) for name in CCD_METRICS},
                "f1_per_exposure": numbers(curves.f1_per_exposure[g, :, k]),
                **{name: curves.counts[g, :, k, n].tolist() for n, name in enumerate(("n_hits", "n_true", "n_found"))},
            }
            for k, group in enumerate(GROUPS)
        }
        for g, geometry in enumerate(GEOMETRIES)
    }


def human_ccd_section(figures: Mapping[str, FloatArray]) -> dict[str, Any]:
    """Medians over annotators, in the same form without intervals."""
    return {
        geometry: {
            group: {name: numbers(values[g, :, k]) for name, values in figures.items()}
            for k, group in enumerate(GROUPS)
        }
        for g, geometry in enumerate(GEOMETRIES)
    }


def pixel_section(overlap: IntArray, rng: np.random.Generator, n_resamples: int) -> dict[str, Any]:
    """Pixel IoU of one system by group."""
    found = interval(iou, overlap, rng, n_resamples=n_resamples)
    return {group: entry(found, k) for k, group in enumerate(GROUPS)}


def coco_results(truths: Sequence[Labelling], labelling: Labelling) -> dict[str, list[CocoResult]]:
    """COCO's comparison with every annotator, by masks and by boxes."""
    return {
        "masks": [coco_result(truth.found, labelling.found, kind="segm") for truth in truths],
        "boxes": [coco_result(truth.found, labelling.found, kind="bbox") for truth in truths],
    }


def coco_section(
    results: Mapping[str, list[CocoResult]], n: int, rng: np.random.Generator, n_resamples: int
) -> dict[str, Any]:
    """COCO's figures of one system, means over annotators; by masks with intervals and curves."""
    section: dict[str, Any] = {}
    for kind, compared in results.items():
        figures = [result.figures() for result in compared]
        section[kind] = {
            name: {key: number(_mean([one[name][key] for one in figures])) for key in figures[0][name]}
            for name in CLASSES
        }
    drawn = weighted_interval(lambda weights: _resampled(results["masks"], weights), n, rng, n_resamples=n_resamples)
    for k, name in enumerate(CLASSES):
        for f, figure in enumerate(COCO_FIGURES):
            section["masks"][name][figure] = entry(drawn, (k, f))
    section["precision_recall"] = {kind: _coco_curves(compared) for kind, compared in results.items()}
    return section


def paper_section(
    truths: Sequence[Labelling], labelling: Labelling, rng: np.random.Generator, n_resamples: int
) -> dict[str, Any]:
    """The paper's per-exposure average precision of one system, over annotators."""
    compared = [paper_ap(truth.found, labelling.found) for truth in truths]
    ap = np.stack([one.ap for one in compared], axis=1)  # (exposure, annotator, overlap, group)
    present = np.stack([one.present for one in compared], axis=1)[:, :, None]
    conventions = {"ap": np.isfinite(ap), "ap_where_present": np.broadcast_to(present, ap.shape)}
    section: dict[str, Any] = {group: {} for group in PAPER_GROUPS}
    for name, counted in conventions.items():
        sums = np.stack([np.where(counted, ap, 0), counted.astype(float)], axis=-1).sum(axis=1)
        drawn = interval(_quotient, sums, rng, n_resamples=n_resamples)
        for g, group in enumerate(PAPER_GROUPS):
            section[group][name] = entry(drawn, (slice(None), g))
    curves = _means([one.precision for one in compared])  # (overlap, group, recall)
    section["precision_recall"] = {
        "recall": numbers(np.linspace(0, 1, curves.shape[-1])),
        **{group: numbers(curves[:, g]) for g, group in enumerate(PAPER_GROUPS)},
    }
    theirs = [mrcnn_ap(truth.found, labelling.found) for truth in truths]
    known = [one for one in theirs if one is not None]
    section["mrcnn"] = None
    if known:
        together = np.stack(known, axis=1)
        section["mrcnn"] = {
            group: numbers([_mean(together[:, :, k, g]) for k in range(len(OVERLAPS))])
            for g, group in enumerate(PAPER_GROUPS)
        }
    return section


def match_section(
    truths: Sequence[Labelling], labelling: Labelling, rng: np.random.Generator, n_resamples: int
) -> dict[str, Any]:
    """Precision, recall and F1 of instances matched one to one, at each of `OVERLAPS`, over annotators."""
    counts = np.sum([all_match_counts(truth, labelling) for truth in truths], axis=0)
    return {name: _matched(counts[:, :, k], rng, n_resamples) for k, name in enumerate(MATCHED)}


def screening_section(
    answer: Answer, ghosted: BoolArray, rng: np.random.Generator, *, prevalence: float, n_resamples: int
) -> dict[str, Any]:
    """Classification metrics of one answer: ghosted or clean exposures."""
    found = rates(ghosted, answer.flagged, rng, prevalence=prevalence, n_resamples=n_resamples)
    section: dict[str, Any] = {
        "confusion": asdict(Confusion.of(ghosted, answer.flagged)),
        **{name: entry(one) for name, one in found.items()},
        "roc_auc": None,
        "curve": None,
        "reliability": None,
    }
    if answer.scores is None:
        return section
    tested = reliability(answer.scores, ghosted)
    section["reliability"] = {
        name: numbers(value) if isinstance(value, np.ndarray) else number(value)
        for name, value in asdict(tested).items()
    }
    if ghosted.all() or not ghosted.any():
        return section
    section["roc_auc"] = entry(roc_auc(answer.scores, ghosted, rng, n_resamples=n_resamples))
    scanned = curve(answer.scores, ghosted)
    kept = np.unique(np.linspace(0, len(scanned.thresholds) - 1, _MOST_POINTS).round().astype(int))
    share = float(np.mean(ghosted))
    section["curve"] = {
        "threshold": numbers(scanned.thresholds[kept]),
        "true_positive_rate": numbers(scanned.true_positive_rate[kept]),
        "false_positive_rate": numbers(scanned.false_positive_rate[kept]),
        "precision": numbers(scanned.precision(share)[kept]),
        "precision_at_prevalence": numbers(scanned.precision(prevalence)[kept]),
    }
    return section


def difference_section(
    hits: tuple[IntArray, IntArray],
    pixels: tuple[IntArray, IntArray] | None,
    coco: tuple[list[CocoResult], list[CocoResult]] | None,
    rng: np.random.Generator,
    n_resamples: int,
) -> dict[str, Any]:
    """Paired difference of two systems, first less second, on the same exposures."""
    f1 = paired_difference(f1_score, *hits, rng, n_resamples=n_resamples)
    section: dict[str, Any] = {
        "ccd_f1": {
            geometry: {
                f"{threshold:.2f}": {group: entry(f1, (g, t, k)) for k, group in enumerate(GROUPS)}
                for t, threshold in enumerate(AREA_THRESHOLDS[:2])
            }
            for g, geometry in enumerate(GEOMETRIES)
        },
        "pixel_iou": None,
        "coco": None,
    }
    if pixels is not None:
        shared = paired_difference(iou, *pixels, rng, n_resamples=n_resamples)
        section["pixel_iou"] = {group: entry(shared, k) for k, group in enumerate(GROUPS)}
    if coco is not None:

        def difference(weights: FloatArray) -> FloatArray:
            return _resampled(coco[0], weights) - _resampled(coco[1], weights)

        drawn = weighted_interval(difference, len(hits[0]), rng, n_resamples=n_resamples)
        section["coco"] = {
            name: {figure: entry(drawn, (k, f)) for f, figure in enumerate(COCO_FIGURES)}
            for k, name in enumerate(CLASSES)
        }
    return section


def _coco_curves(results: Sequence[CocoResult]) -> dict[str, Any]:
    """Precision at 101 recalls for each of `OVERLAPS`, means over annotators; ``All`` is the mean of the classes."""
    at = list(_COCO_OF_OVERLAP)
    by_class = _means([result.precision[at] for result in results])  # (overlap, recall, class)
    return {
        "recall": numbers(RECALLS),
        "All": numbers(_means(list(np.moveaxis(by_class, -1, 0)))),
        **{artifact.title: numbers(by_class[..., artifact]) for artifact in Artifact},
    }


def _matched(counts: IntArray, rng: np.random.Generator, n_resamples: int) -> dict[str, Any]:
    """Precision, recall and F1 from matches, true and found ones, (N, n_overlaps, 3)."""

    def figures(totals: FloatArray) -> FloatArray:
        return np.stack([metric(totals) for metric in CCD_METRICS.values()], axis=-1)

    drawn = interval(figures, counts, rng, n_resamples=n_resamples)
    return {name: entry(drawn, (slice(None), k)) for k, name in enumerate(CCD_METRICS)}


def _resampled(results: Sequence[CocoResult], weights: FloatArray) -> FloatArray:
    """COCO's figures with weighted exposures, means over annotators: (B, 1 + C, 3)."""
    return _means([result.resampled(weights) for result in results])


def _quotient(sums: FloatArray) -> FloatArray:
    """Sum divided by number, NaN where that is 0: (..., 2) to (...)."""
    return np.where(sums[..., 1] > 0, sums[..., 0] / np.maximum(sums[..., 1], 1), np.nan)


def _means(arrays: Sequence[FloatArray]) -> FloatArray:
    """Elementwise mean of the defined values."""
    stacked = np.stack(arrays)
    defined = np.isfinite(stacked)
    return _quotient(np.stack([np.where(defined, stacked, 0).sum(axis=0), defined.sum(axis=0)], axis=-1))


def _mean(values: npt.ArrayLike) -> float:
    """Mean of the defined values; NaN if there are none."""
    return float(_means(list(np.asarray(values, float).ravel())))
