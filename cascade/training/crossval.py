"""Cross-validation: how good is a recipe on exposures that it never saw?"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from cascade.camera import Camera
from cascade.engines import KerasEngine
from cascade.evaluate import GROUPS, CcdMetrics, affected_ccds, group_masks, majority
from cascade.exposure import Artifact, BoolArray, Float32Array, Instances, UInt8Array
from cascade.models import Task, load_network, read_model
from cascade.screen import NetworkScreener
from cascade.segment import NetworkSegmenter
from cascade.training.annotated import AnnotatedSet, folds_by_night
from cascade.training.composite import Compositor
from cascade.training.config import TrainConfig
from cascade.training.fit import OnSteps, train

logger = logging.getLogger(__name__)

IndexArray = npt.NDArray[np.intp]

N_FOLDS = 5
_MOSAICS_PER_EXPOSURE = 8
_AREA_THRESHOLDS = (0.0, 0.05)
_SCAN = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def cross_validate(
    task: Task,
    config: TrainConfig,
    annotated: AnnotatedSet,
    camera: Camera,
    out: Path,
    *,
    on_steps: OnSteps | None = None,
) -> Mapping[str, Any]:
    """
    Train on four fifths of the nights and score the fifth, five times.

    Finished folds in `out` are not trained again, so a killed run goes on.

    Parameters
    ----------
    task : str
        ``"screen"`` or ``"segment"``.
    config : TrainConfig
    annotated : AnnotatedSet
    camera : Camera
    out : Path
        Gets a model folder a fold and `cross_validation.json`.
    on_steps : callable or None
        Told of the steps of every fold; see `cascade.training.fit.train`.

    Returns
    -------
    mapping
        The figures, as in `cross_validation.json`.
    """
    measure = _measure_screen if task == "screen" else _measure_segment
    folds = folds_by_night(annotated.expnums, N_FOLDS)
    held_out: list[Any] = []
    for k, fold in enumerate(folds):
        rest = np.setdiff1d(np.arange(len(annotated)), fold)
        folder = out / f"fold-{k}"
        logger.info("fold %d of %d: %d exposures to learn from", k + 1, N_FOLDS, len(rest))
        model = train(task, config, annotated.select(rest.tolist()), camera, folder, on_steps=on_steps)
        predict = _predict_screen if task == "screen" else _predict_segment
        held_out.append(predict(model.folder, annotated.select(fold.tolist()), camera))
    figures = {
        "task": task,
        "folds": [[annotated.expnums[n] for n in fold] for fold in folds],
        **measure(held_out, folds, annotated, camera, config.threshold),
    }
    out.joinpath("cross_validation.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return figures


def ccd_figures(
    found: list[Instances], annotated: AnnotatedSet, camera: Camera, min_score: float, area_threshold: float
) -> dict[str, dict[str, float]]:
    """
    Compare instances with the annotators' majority, CCD by CCD.

    A CCD is truly affected where more than half of the annotators' masks affect it, group by group of classes; this
    convention reproduces the human figures that are known.

    Parameters
    ----------
    found : list of Instances
        One an exposure of `annotated`.
    annotated : AnnotatedSet
    camera : Camera
    min_score : float
        Instances below it do not count.
    area_threshold : float
        Share of a CCD that must be covered; see `cascade.evaluate.affected_ccds`.

    Returns
    -------
    dict
        Precision, recall and F1 of every group of classes, pooled over all CCDs; and `f1_per_exposure`, the mean of
        the F1 of each exposure on which either side affects a CCD.
    """
    predicted = group_masks(np.stack([_class_masks(instances, min_score) for instances in found]))
    voted = group_masks(annotated.votes())
    figures = {}
    for group in GROUPS:
        truth = majority(affected_ccds(voted[group], camera, area_threshold=area_threshold))
        guess = affected_ccds(predicted[group], camera, area_threshold=area_threshold)
        pooled = CcdMetrics.of(truth, guess)
        each = [CcdMetrics.of(t, g).f1 for t, g in zip(truth, guess, strict=True) if t.any() or g.any()]
        figures[group] = {
            "precision": round(pooled.precision, 3),
            "recall": round(pooled.recall, 3),
            "f1": round(pooled.f1, 3),
            "f1_per_exposure": round(float(np.mean(each)), 3) if each else 0.0,
        }
    return figures


@dataclass(frozen=True, slots=True)
class _Segmented:
    """
    What a network found in held-out exposures, of any score that it reports.

    `found` has one entry an exposure, `clean_scores` the best score (or 0) in each clean mosaic made of them.
    """

    found: list[Instances]
    clean_scores: Float32Array


def _predict_segment(folder: Path, annotated: AnnotatedSet, camera: Camera) -> _Segmented:
    """Segment held-out exposures, and clean mosaics made of nothing but them."""
    info = read_model(folder)
    segmenter = NetworkSegmenter(KerasEngine(load_network(info), info.task), min_score=0.0)
    clean, _ = _mosaics(annotated, camera)
    batches = (clean[k : k + _MOSAICS_PER_EXPOSURE] for k in range(0, len(clean), _MOSAICS_PER_EXPOSURE))
    clean_scores = [max(found.scores, default=0.0) for batch in batches for found in segmenter.segment(batch)]
    return _Segmented(segmenter.segment(annotated.images), np.array(clean_scores, np.float32))


def _mosaics(annotated: AnnotatedSet, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
    """Clean and ghosted mosaics, several an exposure, always the same."""
    rng = np.random.default_rng(0)
    compositor = Compositor(annotated.images, annotated.marked_ccds(camera), camera)
    drawn = [n for n in range(len(annotated)) for _ in range(_MOSAICS_PER_EXPOSURE)]
    clean = np.stack([compositor.clean(n, rng) for n in drawn])
    return clean, np.stack([compositor.regrounded(n, rng) for n in drawn])


def _measure_segment(
    held_out: list[_Segmented], folds: list[IndexArray], annotated: AnnotatedSet, camera: Camera, threshold: float
) -> dict[str, Any]:
    """
    CCD figures at the threshold of the configuration, over a range of them, and at one chosen without looking.

    For the last, each fold takes the threshold with the best F1 of all classes on the other four.
    """
    found = dict(zip(np.concatenate(folds).tolist(), (i for fold in held_out for i in fold.found), strict=True))
    clean = np.concatenate([fold.clean_scores for fold in held_out])

    def figures(indices: Sequence[int], min_score: float, area_threshold: float = 0.0) -> dict[str, dict[str, float]]:
        chosen = annotated.select(indices)
        return ccd_figures([found[n] for n in indices], chosen, camera, min_score, area_threshold)

    everything = range(len(annotated))
    scan = {score: figures(everything, score) for score in _SCAN}
    at_threshold = {f"area_{area}": figures(everything, threshold, area) for area in _AREA_THRESHOLDS}

    def best_on(indices: Sequence[int]) -> float:
        return max(_SCAN, key=lambda score: figures(indices, score)["All"]["f1"])

    nested = [best_on(np.setdiff1d(everything, fold).tolist()) for fold in folds]
    for fold, min_score in zip(folds, nested, strict=True):
        for n in fold.tolist():
            found[n] = found[n].select(found[n].scores >= min_score)
    return {
        "min_score": threshold,
        **at_threshold,
        "f1_by_min_score": {str(score): {g: f["f1"] for g, f in at.items()} for score, at in scan.items()},
        "n_clean_mosaics": len(clean),
        "n_clean_mosaics_with_artifacts_by_min_score": {str(score): int((clean >= score).sum()) for score in _SCAN},
        "nested": {
            "min_scores": nested,
            **{f"area_{area}": figures(everything, 0.0, area) for area in _AREA_THRESHOLDS},
        },
    }


def _predict_screen(folder: Path, annotated: AnnotatedSet, camera: Camera) -> dict[str, Float32Array]:
    """Scores of held-out exposures, and of ghosted and clean mosaics made of nothing but them."""
    screener = NetworkScreener.load(read_model(folder), engine="keras")
    clean, ghosted = _mosaics(annotated, camera)
    return {
        "ghosted": screener.score(annotated.images),
        "clean mosaics": screener.score(clean),
        "ghosted mosaics": screener.score(ghosted),
    }


def _measure_screen(
    held_out: list[dict[str, Float32Array]], folds: list[IndexArray], annotated: AnnotatedSet, camera: Camera,
    threshold: float,
) -> dict[str, Any]:  # fmt: skip
    """
    ROC AUC, and what the threshold of the configuration flags.

    A network could tell a mosaic by its seams, so ghosted exposures are compared with clean mosaics as they are, and
    as mosaics themselves.
    """
    del camera
    order = np.argsort(np.concatenate(folds))
    ghosted, clean, mosaics = (
        np.concatenate([fold[kind] for fold in held_out]) for kind in ("ghosted", "clean mosaics", "ghosted mosaics")
    )
    return {
        "threshold": threshold,
        "n_ghosted": len(ghosted),
        "n_ghosted_flagged": int((ghosted >= threshold).sum()),
        "n_clean_mosaics": len(clean),
        "n_clean_mosaics_flagged": int((clean >= threshold).sum()),
        "n_ghosted_mosaics": len(mosaics),
        "n_ghosted_mosaics_flagged": int((mosaics >= threshold).sum()),
        "roc_auc_exposures_against_mosaics": _auc(ghosted, clean),
        "roc_auc_mosaics_against_mosaics": _auc(mosaics, clean),
        "scores": {
            str(expnum): round(float(ghosted[n]), 4) for expnum, n in zip(annotated.expnums, order, strict=True)
        },
        "clean_score_percentiles_50_90_95_99": np.percentile(clean, [50, 90, 95, 99]).round(4).tolist(),
    }


def _auc(ghosted: Float32Array, clean: Float32Array) -> float:
    """Area under the ROC curve."""
    truth = np.repeat([True, False], [len(ghosted), len(clean)])
    return round(float(roc_auc_score(truth, np.concatenate([ghosted, clean]))), 4)


def _class_masks(instances: Instances, min_score: float) -> BoolArray:
    """Union of the instances of each class that score enough, (3, H, W)."""
    chosen = instances.select(instances.scores >= min_score)
    return np.stack([np.any(chosen.masks[chosen.classes == artifact], axis=0) for artifact in Artifact])
