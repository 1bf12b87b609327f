"""CCD metrics of held-out exposures against the annotators' majority, over a grid of thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray, Instances
from cascade.evaluate import GROUPS, CcdMetrics, affected_ccds, group_masks, majority
from cascade.networks.engines import Outputs
from cascade.networks.segment import artifacts_of
from cascade.training.annotated import AnnotatedSet
from cascade.training.sample import class_masks

AREA_THRESHOLDS = (0.0, 0.05)
NEVER = 1.01
"""A threshold above all scores: disables instances or the semantic map."""

_MIN_SCORES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SEMANTIC = (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
_N_RESAMPLED = 2000

Affected = dict[float, dict[str, BoolArray]]
"""By area threshold and group of classes, which CCDs are affected, (N, 62)."""


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """
    Thresholds on a network's outputs.

    Attributes
    ----------
    min_score
        Minimum score of an instance.
    semantic
        Minimum probability of the semantic map.
    """

    min_score: float
    semantic: float

    @property
    def kind(self) -> str:
        """Enabled outputs: ``"instances"``, ``"map"`` or ``"both"``."""
        if self.semantic >= NEVER:
            return "instances"
        return "map" if self.min_score >= NEVER else "both"

    def __str__(self) -> str:
        """For tables."""
        parts = (f"instances {self.min_score:g}", self.min_score), (f"map {self.semantic:g}", self.semantic)
        return ", ".join(text for text, threshold in parts if threshold < NEVER)


def settings_of(outputs: Outputs) -> list[Setting]:
    """The grid of settings: instances only, map only, and both."""
    scores = (*_MIN_SCORES, NEVER) if "boxes" in outputs else (NEVER,)
    maps = (*_SEMANTIC, NEVER) if "semantic" in outputs else (NEVER,)
    return [Setting(score, level) for score in scores for level in maps if min(score, level) < NEVER]


def artifacts(outputs: Outputs, setting: Setting, classes: Sequence[Artifact] = tuple(Artifact)) -> list[Instances]:
    """The artifacts of every image at one setting, of a network for some classes."""
    n_images = len(next(iter(outputs.values())))
    if setting.semantic >= NEVER:
        outputs = {key: value for key, value in outputs.items() if key != "semantic"}
    if setting.min_score >= NEVER:
        outputs = {"semantic": outputs["semantic"]}
    return [
        artifacts_of(outputs, n, min_score=setting.min_score, semantic=setting.semantic, classes=classes)
        for n in range(n_images)
    ]


def affected_by(found: Iterable[Instances], camera: Camera) -> Affected:
    """Which CCDs instances affect; one entry of `found` per exposure."""
    united = group_masks(np.stack([class_masks(instances) for instances in found]))
    return {
        area: {group: affected_ccds(masks, camera, area_threshold=area) for group, masks in united.items()}
        for area in AREA_THRESHOLDS
    }


def affected_by_majority(annotated: AnnotatedSet, camera: Camera) -> Affected:
    """
    Which CCDs are truly affected: those that more than half of the annotators' masks affect, group by group.

    This convention reproduces the published figures of annotators.
    """
    voted = group_masks(annotated.votes())
    return {
        area: {group: majority(affected_ccds(masks, camera, area_threshold=area)) for group, masks in voted.items()}
        for area in AREA_THRESHOLDS
    }


def ccd_figures(
    truth: Affected, guess: Affected, area: float = 0.0, exposures: Sequence[int] | None = None
) -> dict[str, dict[str, Any]]:
    """
    Precision, recall and F1 of every group of classes.

    Parameters
    ----------
    truth, guess : dict
        See `Affected`.
    area : float
        One of `AREA_THRESHOLDS`.
    exposures : sequence of int or None
        Exposures to include; None: all.

    Returns
    -------
    dict
        By group: `precision`, `recall` and `f1`, pooled over all CCDs; `f1_interval`, a 95 % bootstrap interval over
        exposures; and `f1_per_exposure`, the mean F1 of the exposures with a true or predicted CCD.
    """
    chosen = slice(None) if exposures is None else list(exposures)
    figures = {}
    for group in GROUPS:
        true, guessed = truth[area][group][chosen], guess[area][group][chosen]
        pooled = CcdMetrics.of(true, guessed)
        each = [CcdMetrics.of(t, g).f1 for t, g in zip(true, guessed, strict=True) if t.any() or g.any()]
        figures[group] = {
            "precision": round(pooled.precision, 3),
            "recall": round(pooled.recall, 3),
            "f1": round(pooled.f1, 3),
            "f1_interval": f1_interval(true, guessed),
            "f1_per_exposure": round(float(np.mean(each)), 3) if each else 0.0,
        }
    return figures


def f1_interval(truth: BoolArray, guess: BoolArray) -> list[float]:
    """95 % percentile bootstrap interval of the pooled F1 of (N, 62) CCDs, over exposures."""
    rng = np.random.default_rng(0)
    hits, total = (truth & guess).sum(axis=1), truth.sum(axis=1) + guess.sum(axis=1)
    drawn: npt.NDArray[np.intp] = rng.integers(len(truth), size=(_N_RESAMPLED, len(truth)))
    f1 = 2 * hits[drawn].sum(axis=1) / np.maximum(total[drawn].sum(axis=1), 1)
    return [round(float(bound), 3) for bound in np.percentile(f1, [2.5, 97.5])]


def best_setting(truth: Affected, by_setting: dict[Setting, Affected], exposures: Sequence[int]) -> Setting:
    """The setting with the best F1, averaged over the groups of classes, on some exposures."""

    def quality(setting: Setting) -> float:
        chosen = list(exposures)
        return float(
            np.mean([CcdMetrics.of(truth[0.0][g][chosen], by_setting[setting][0.0][g][chosen]).f1 for g in GROUPS])
        )

    return max(by_setting, key=quality)
