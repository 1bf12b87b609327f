"""Cross-validation of a training configuration on real exposures, grouped by night."""

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
from cascade.networks.engines import KerasEngine, Outputs
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
    Train on all folds but one and evaluate on the held-out fold, in turn.

    Finished folds in `out` are reused, so an interrupted run resumes.

    Parameters
    ----------
    task : str
        ``"screen"`` or ``"segment"``.
    config : TrainConfig
    data : TrainingData
        With real exposures.
    camera : Camera
    out : Path
        Output folder: a model folder per fold and `cross_validation.json`.
    start : ModelInfo or None
        Initial weights of every fold; not trained on the real exposures.
    on_steps : callable or None
        Progress callback; see `cascade.training.fit.train`.

    Returns
    -------
    mapping
        The metrics, as in `cross_validation.json`.
    """
    annotated = data.annotated
    if annotated is None:
        msg = "cross-validation: expected a configuration with [real] exposures"
        raise ConfigError(msg)
    if start is not None and set(start.training.get("exposures", ())) & set(annotated.expnums):
        msg = f"cross-validation: {start.folder} was trained on exposures to be held out"
        raise ConfigError(msg)
    measure = _measure_screen if task == "screen" else _measure_segment
    folds = folds_by_night(annotated.expnums, N_FOLDS)
    held_out: list[Any] = []
    for k, fold in enumerate(folds):
        rest = np.setdiff1d(np.arange(len(annotated)), fold)
        folder = out / f"fold-{k}"
        logger.info("fold %d of %d: %d training exposures", k + 1, N_FOLDS, len(rest))
        training = TrainingData(annotated.select(rest.tolist()), data.season)
        model = train(task, config, training, camera, folder, start=start, on_steps=on_steps)
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
    """Outputs of a network for held-out exposures, and for clean mosaics of their CCDs."""

    exposures: Outputs
    mosaics: Outputs


def _predict_segment(folder: Path, annotated: AnnotatedSet, camera: Camera) -> _Segmented:
    """Run a network on held-out exposures."""
    info = read_model(folder)
    engine = KerasEngine(load_network(info), info.task)
    clean, _ = _mosaics(annotated, camera)
    return _Segmented(engine(annotated.images), engine(clean))


def _mosaics(annotated: AnnotatedSet, camera: Camera) -> tuple[UInt8Array, UInt8Array]:
    """Clean and ghosted mosaics, several per exposure, with a fixed seed."""
    rng = np.random.default_rng(0)
    compositor = Compositor(annotated.images, annotated.marked_ccds(camera), camera)
    drawn = [n for n in range(len(annotated)) for _ in range(_MOSAICS_PER_EXPOSURE)]
    clean = np.stack([compositor.clean(n, rng) for n in drawn])
    return clean, np.stack([compositor.with_other_background(n, rng) for n in drawn])


def _measure_segment(
    held_out: list[_Segmented], folds: list[IndexArray], annotated: AnnotatedSet, camera: Camera, config: TrainConfig
) -> dict[str, Any]:
    """
    CCD metrics at the configured setting, over a grid of settings, and by nested cross-validation.

    In the last, the setting of each fold is the best one on the other folds.
    """
    order = np.argsort(np.concatenate(folds))
    outputs = {key: np.concatenate([fold.exposures[key] for fold in held_out])[order] for key in held_out[0].exposures}
    mosaics = {key: np.concatenate([fold.mosaics[key] for fold in held_out]) for key in held_out[0].mosaics}
    truth = affected_by_majority(annotated, camera)
    ours = Setting(
        config.threshold if "boxes" in outputs else NEVER, config.semantic if "semantic" in outputs else NEVER
    )
    guesses = {
        setting: affected_by(artifacts(outputs, setting, config.classes), camera)
        for setting in {ours, *settings_of(outputs)}
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
    """The best setting, chosen and evaluated on the same exposures, with its F1."""
    best = best_setting(truth, guesses, range(len(truth[0.0]["All"])))
    return {**asdict(best), **{group: f["f1"] for group, f in ccd_figures(truth, guesses[best]).items()}}


def _predict_screen(folder: Path, annotated: AnnotatedSet, camera: Camera) -> dict[str, Float32Array]:
    """Scores of held-out exposures, and of ghosted and clean mosaics of their CCDs."""
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
    ROC AUC, and numbers of flagged exposures at the configured threshold.

    A network could recognise a mosaic by its seams, so clean mosaics are compared both with ghosted exposures and with
    ghosted mosaics.
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
