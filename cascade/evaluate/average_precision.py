"""COCO's average precision of instances, by pycocotools, with bootstrap intervals."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cascade.core.artifact import Artifact, coco_categories
from cascade.core.errors import ConfigError
from cascade.core.exposure import PREVIEW_SHAPE, Instances
from cascade.evaluate.bootstrap import FloatArray
from cascade.evaluate.labelling import Found, coco_annotations

Kind = Literal["segm", "bbox"]

AREAS = ("all", "small", "medium", "large")
"""COCO's ranges: any, under 32 x 32 px, up to 96 x 96 px, and beyond."""

_IOU_50, _IOU_75 = 0, 5  # of COCO's ten overlaps, 0.50 to 0.95
_N_MAX = 2  # of COCO's largest numbers of detections (1, 10, 100)
RECALLS = np.linspace(0, 1, 101)
"""Where COCO reads precision."""

_BLOCK = 2_000_000  # points of curves in memory at a time


@dataclass(frozen=True, slots=True, eq=False)
class CocoResult:
    """
    Results of pycocotools for C classes.

    Attributes
    ----------
    ap
        Average precision by overlap threshold (COCO's ten, 0.50 to 0.95), class and entry of `AREAS`: (10, C, 4); NaN
        where the truth has none.
    precision
        (10, 101, C): precision at `RECALLS` by overlap and class, of any area; NaN where the truth has none.
    ranked
        What the bootstrap needs.
    """

    ap: FloatArray
    precision: FloatArray
    ranked: tuple[_Ranked, ...]

    def figures(self) -> dict[str, dict[str, float]]:
        """AP, AP50 and AP75 of the mean over classes and of every class, then AP by area; NaN where undefined."""
        rows = {"mean": self.ap, **{a.title: self.ap[:, [a]] for a in Artifact}}
        return {
            name: {
                "AP": _mean(ap[:, :, 0]),
                "AP50": _mean(ap[_IOU_50, :, 0]),
                "AP75": _mean(ap[_IOU_75, :, 0]),
                **{f"AP_{area}": _mean(ap[:, :, k]) for k, area in enumerate(AREAS) if k},
            }
            for name, ap in rows.items()
        }

    def resampled(self, weights: FloatArray) -> FloatArray:
        """
        AP, AP50 and AP75 with weighted exposures.

        Parameters
        ----------
        weights : ndarray, shape (B, N)
            Multiplicity of each exposure; ones reproduce `figures`.

        Returns
        -------
        ndarray, shape (B, 1 + C, 3)
            Of the mean over classes and of every class in the order of `Artifact`; NaN where undefined.
        """
        by_class = np.stack([ranked.average_precision(weights) for ranked in self.ranked], axis=1)  # (B, class, IoU)
        defined = np.isfinite(by_class)
        mean = np.where(defined, by_class, 0).sum(axis=1, keepdims=True) / np.maximum(
            defined.sum(axis=1, keepdims=True), 1
        )
        mean = np.where(defined.any(axis=1, keepdims=True), mean, np.nan)
        rows = np.concatenate([mean, by_class], axis=1)
        return np.stack([rows.mean(axis=-1), rows[..., _IOU_50], rows[..., _IOU_75]], axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """
    Detections of one class by falling score, as pycocotools matched them.

    `exposures` (D,), `hits` (10, D) at each overlap, `n_true` (N,) artifacts of the truth in each exposure.
    """

    exposures: npt.NDArray[np.intp]
    hits: npt.NDArray[np.bool_]
    n_true: npt.NDArray[np.int64]

    def average_precision(self, weights: FloatArray) -> FloatArray:
        """(B, 10) average precision at 101 recalls; NaN where no drawn exposure has a true one."""
        block = max(1, _BLOCK // max(self.hits.size, 1))
        return np.concatenate([self._block(weights[k : k + block]) for k in range(0, len(weights), block)])

    def _block(self, weights: FloatArray) -> FloatArray:
        """The same for a block of resamples whose curves fit into memory."""
        n_resamples, (n_overlaps, n_found) = len(weights), self.hits.shape
        n_true = weights @ self.n_true
        taken = weights[:, self.exposures]
        true = np.cumsum(self.hits * taken[:, None], axis=-1)
        precision = true / np.maximum(np.cumsum(taken, axis=-1), 1.0)[:, None]
        # From the right, the best precision at this recall or a higher one; none beyond the last.
        envelope = np.zeros((n_resamples, n_overlaps, n_found + 1))
        envelope[..., :-1] = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
        # Hits that a recall needs, compared as pycocotools does: hits / n_true >= recall.
        floor = np.floor(RECALLS * n_true[:, None])
        needed = floor + (floor / np.maximum(n_true, 1)[:, None] < RECALLS)
        # One search in all curves: each has its own range of whole numbers.
        own = (np.arange(n_resamples * n_overlaps) * (true.max(initial=0) + n_true.max(initial=0) + 2))[:, None]
        ranges = true.reshape(len(own), n_found) + own
        wanted = np.repeat(needed, n_overlaps, axis=0) + own
        first = np.searchsorted(ranges.ravel(), wanted.ravel()).reshape(wanted.shape)
        first = np.clip(first - np.arange(len(own))[:, None] * n_found, 0, n_found)
        at = np.take_along_axis(envelope.reshape(len(own), n_found + 1), first, axis=1)
        found = at.mean(axis=1).reshape(n_resamples, n_overlaps)
        return np.where(n_true[:, None] > 0, found, np.nan)


def coco_result(truth: Sequence[Found], predicted: Sequence[Found], *, kind: Kind = "segm") -> CocoResult:
    """
    Compare the artifacts of N exposures, pooled, as COCO does.

    Parameters
    ----------
    truth, predicted : sequence of Found
        In the same order.
    kind : {"segm", "bbox"}
        Overlap of masks, or of boxes.

    Returns
    -------
    CocoResult

    Raises
    ------
    ConfigError
        If the two sides differ in length.

    References
    ----------
    pycocotools, cocoeval.py.
    """
    if len(truth) != len(predicted):
        msg = f"average precision: expected as many exposures on both sides, got {len(truth)} and {len(predicted)}"
        raise ConfigError(msg)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluation = COCOeval(_coco(truth), _coco(predicted), kind)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., _N_MAX]  # (overlap, recall, class, area), -1 where undefined
    precision = np.where(precision < 0, np.nan, precision)
    ranked = tuple(_ranked(evaluation, int(artifact), len(truth)) for artifact in Artifact)
    return CocoResult(precision.mean(axis=1), precision[..., 0], ranked)


def average_precision(
    truth: Sequence[Instances], predicted: Sequence[Instances], *, kind: Kind = "segm"
) -> dict[str, dict[str, float]]:
    """
    COCO's average precision of instances.

    Parameters
    ----------
    truth, predicted : sequence of Instances
        One per exposure, in the same order.
    kind : {"segm", "bbox"}
        Overlap of masks, or of boxes.

    Returns
    -------
    dict
        AP, AP50, AP75 and AP by area, for the mean over classes and for every class; NaN where the truth has none.
    """
    return coco_result([Found.of(one) for one in truth], [Found.of(one) for one in predicted], kind=kind).figures()


def _coco(found: Sequence[Found]) -> Any:  # noqa: ANN401
    """The artifacts as pycocotools expects them."""
    height, width = PREVIEW_SHAPE
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number, "height": height, "width": width} for number in range(len(found))],
        "categories": coco_categories(),
        "annotations": coco_annotations(found),
    }
    coco.createIndex()
    return coco


def _ranked(evaluation: Any, class_: int, n_exposures: int) -> _Ranked:  # noqa: ANN401
    """The matches of one class, of any area, as `COCOeval.accumulate` ranks them."""
    n_areas = len(evaluation.params.areaRng)
    first = class_ * n_areas * n_exposures
    per_exposure: list[Mapping[str, Any] | None] = evaluation.evalImgs[first : first + n_exposures]
    known = [(n, one) for n, one in enumerate(per_exposure) if one is not None]
    n_true = np.zeros(n_exposures, np.int64)
    for n, one in known:
        n_true[n] = len(one["gtIds"])
    exposures = np.concatenate([np.full(len(one["dtScores"]), n) for n, one in known] or [np.zeros(0)]).astype(np.intp)
    scores = np.concatenate([one["dtScores"] for _, one in known] or [np.zeros(0)])
    hits = np.concatenate([one["dtMatches"] > 0 for _, one in known] or [np.zeros((10, 0))], axis=1).astype(bool)
    order = np.argsort(-scores, kind="mergesort")
    return _Ranked(exposures[order], hits[:, order], n_true)


def _mean(values: FloatArray) -> float:
    """Mean of the defined values; NaN if there are none."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else float("nan")
