"""Cross-validation: how good is a recipe on exposures that it never saw?"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.core.exposure import Float32Array, UInt8Array
from cascade.networks.engines import Answer, KerasEngine
from cascade.networks.model_info import ModelInfo, Task, read_model
from cascade.networks.models import load_network
from cascade.networks.screen import NetworkScreener
from cascade.training.annotated import AnnotatedSet, folds_by_night
from cascade.training.composite import Compositor
from cascade.training.config import TrainConfig
from cascade.training.fit import OnSteps, train
from cascade.training.measure import (
    AREA_THRESHOLDS,
    NEVER,
    Affected,
    Setting,
    affected_by,
    affected_by_majority,
    artifacts,
    best_setting,
    ccd_figures,
    settings_of,
)
from cascade.training.sources import TrainingData

logger = logging.getLogger(__name__)

IndexArray = npt.NDArray[np.intp]

N_FOLDS = 5
_MOSAICS_PER_EXPOSURE = 8


def cross_validate(
    task: Task,
    config: TrainConfig,
    data: TrainingData,
    camera: Camera,
    out: Path,
    *,
    start: ModelInfo | None = None,
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
    data : TrainingData
        With real exposures.
    camera : Camera
    out : Path
        Gets a model folder a fold and `cross_validation.json`.
    start : ModelInfo or None
        What every fold starts from; it must not have seen the real exposures.
    on_steps : callable or None
        Told of the steps of every fold; see `cascade.training.fit.train`.

    Returns
    -------
    mapping
        The figures, as in `cross_validation.json`.
    """
    annotated = data.annotated
    if annotated is None:
        msg = "cross-validation: expected a configuration with [real] exposures"
        raise ConfigError(msg)
    if start is not None and set(start.training.get("exposures", ())) & set(annotated.expnums):
        msg = f"cross-validation: {start.folder} has learned from exposures that are to be held out"
        raise ConfigError(msg)
    measure = _measure_screen if task == "screen" else _measure_segment
    folds = folds_by_night(annotated.expnums, N_FOLDS)
    held_out: list[Any] = []
    for k, fold in enumerate(folds):
        rest = np.setdiff1d(np.arange(len(annotated)), fold)
        folder = out / f"fold-{k}"
        logger.info("fold %d of %d: %d exposures to learn from", k + 1, N_FOLDS, len(rest))
        learned = TrainingData(annotated.select(rest.tolist()), data.season)
        model = train(task, config, learned, camera, folder, start=start, on_steps=on_steps)
        predict = _predict_screen if task == "screen" else _predict_segment
        held_out.append(predict(model.folder, annotated.select(fold.tolist()), camera))
    figures = {
        "task": task,
        "folds": [[annotated.expnums[n] for n in fold] for fold in folds],
        **measure(held_out, folds, annotated, camera, config),
    }
    out.joinpath("cross_validation.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return figures


@dataclass(frozen=True, slots=True)
class _Segmented:
    """What a network said of held-out exposures, and of clean mosaics made of nothing but them."""

    exposures: Answer
    mosaics: Answer


def _predict_segment(folder: Path, annotated: AnnotatedSet, camera: Camera) -> _Segmented:
    """Let a network look at held-out exposures."""
    info = read_model(folder)
    engine = KerasEngine(load_network(info), info.task)
    clean, _ = _mosaics(annotated, camera)
    return _Segmented(engine(annotated.images), engine(clean))


def _mosaics(annotated: AnnotatedSet, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
    """Clean and ghosted mosaics, several an exposure, always the same."""
    rng = np.random.default_rng(0)
    compositor = Compositor(annotated.images, annotated.marked_ccds(camera), camera)
    drawn = [n for n in range(len(annotated)) for _ in range(_MOSAICS_PER_EXPOSURE)]
    clean = np.stack([compositor.clean(n, rng) for n in drawn])
    return clean, np.stack([compositor.regrounded(n, rng) for n in drawn])


def _measure_segment(
    held_out: list[_Segmented], folds: list[IndexArray], annotated: AnnotatedSet, camera: Camera, config: TrainConfig
) -> dict[str, Any]:
    """
    CCD figures at the setting of the configuration, over a range of them, and at one chosen without looking.

    For the last, each fold takes the setting that is best on the other four.
    """
    order = np.argsort(np.concatenate(folds))
    answer = {key: np.concatenate([fold.exposures[key] for fold in held_out])[order] for key in held_out[0].exposures}
    mosaics = {key: np.concatenate([fold.mosaics[key] for fold in held_out]) for key in held_out[0].mosaics}
    truth = affected_by_majority(annotated, camera)
    ours = Setting(config.threshold if "boxes" in answer else NEVER, config.semantic if "semantic" in answer else NEVER)
    guesses = {
        setting: affected_by(artifacts(answer, setting, config.classes), camera)
        for setting in {ours, *settings_of(answer)}
    }
    chosen = [best_setting(truth, guesses, np.setdiff1d(range(len(annotated)), fold).tolist()) for fold in folds]
    nested: Affected = {area: {g: np.zeros_like(ccds) for g, ccds in groups.items()} for area, groups in truth.items()}
    for fold, setting in zip(folds, chosen, strict=True):
        for area, groups in nested.items():
            for group, ccds in groups.items():
                ccds[fold] = guesses[setting][area][group][fold]
    return {
        "setting": asdict(ours),
        **{f"area_{area}": ccd_figures(truth, guesses[ours], area) for area in AREA_THRESHOLDS},
        "nested": {
            "settings": [asdict(setting) for setting in chosen],
            **{f"area_{area}": ccd_figures(truth, nested, area) for area in AREA_THRESHOLDS},
        },
        "best_by_kind": {
            kind: _best(truth, {setting: guesses[setting] for setting in guesses if setting.kind == kind})
            for kind in sorted({setting.kind for setting in guesses})
        },
        "f1_by_setting": {
            str(setting): {group: f["f1"] for group, f in ccd_figures(truth, guesses[setting]).items()}
            for setting in sorted(guesses)
        },
        "n_clean_mosaics": len(next(iter(mosaics.values()))),
        "n_clean_mosaics_with_artifacts": {
            str(setting): sum(len(found) > 0 for found in artifacts(mosaics, setting, config.classes))
            for setting in sorted({ours, *chosen})
        },
    }


def _best(truth: Affected, guesses: dict[Setting, Affected]) -> dict[str, Any]:
    """The best setting of some, chosen on the exposures that it is measured on, with its F1."""
    best = best_setting(truth, guesses, range(len(truth[0.0]["All"])))
    return {**asdict(best), **{group: f["f1"] for group, f in ccd_figures(truth, guesses[best]).items()}}


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
    config: TrainConfig,
) -> dict[str, Any]:  # fmt: skip
    """
    ROC AUC, and what the threshold of the configuration flags.

    A network could tell a mosaic by its seams, so ghosted exposures are compared with clean mosaics as they are, and
    as mosaics themselves.
    """
    del camera
    threshold = config.threshold
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
