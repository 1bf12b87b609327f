"""CCDs lost and false CCDs prevented by the screen: the same masks with and without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cascade.evaluate import CcdCells, Labelling, f1_score, interval, paired_difference, recall
from cascade.evaluate.sections import entry
from cascade.veto import VetoRule

AREA_THRESHOLDS = {"touched": 0.0, "vetoed": VetoRule().min_area}
"""Minimum covered fraction of an affected CCD: any, and the default of `cascade veto`."""

_FOOTPRINT, _ALL = 1, 0  # of the axes of `Labelling.ccd_px`

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """
    Truth of N exposures, and predictions of Mask R-CNN for all of them, flagged or not.

    Attributes
    ----------
    area_px
        (N,) true artifact pixels on CCDs.
    true, found
        By `AREA_THRESHOLDS`, (N, n_ccds) bool: affected CCDs, all classes together.
    """

    area_px: npt.NDArray[np.int64]
    true: dict[str, BoolArray]
    found: dict[str, BoolArray]

    @classmethod
    def of(cls, truth: Labelling, found: Labelling, cells: CcdCells) -> Self:
        """Compare two labellings over the same exposures."""
        true, seen = (
            {name: labelling.affected(cells, "paper", area)[:, _ALL] for name, area in AREA_THRESHOLDS.items()}
            for labelling in (truth, found)
        )
        return cls(truth.ccd_px[:, _FOOTPRINT, _ALL].sum(axis=1, dtype=np.int64), true, seen)

    def select(self, chosen: npt.NDArray[np.intp]) -> Marked:
        """Select exposures."""
        return Marked(
            self.area_px[chosen],
            {name: ccds[chosen] for name, ccds in self.true.items()},
            {name: ccds[chosen] for name, ccds in self.found.items()},
        )

    def losses(self, ghosted: BoolArray, flagged: BoolArray, *, n_resamples: int) -> dict[str, Any]:
        """
        Compute losses and savings of a screen that flags some exposures.

        Parameters
        ----------
        ghosted, flagged : ndarray of bool, shape (N,)
            Truth, and the screen's decision.
        n_resamples : int
            Of the bootstrap over exposures.

        Returns
        -------
        dict
            Fractions, each with its interval: `ghosted_missed` exposures, `area_missed` in them; and for each of
            `AREA_THRESHOLDS` `ccds_unseen` (affected ones in exposures called clean), `ccds_lost` (those of them that
            Mask R-CNN would have found), F1 of `alone` and `cascade` and their `difference`; and numbers of false CCDs,
            `n_false_alone`, `n_false_prevented` (because the screen called the exposure clean) and `n_false_left`.
        """
        rng = np.random.default_rng(0)

        def share(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> dict[str, Any]:
            counts = np.stack([part, whole, np.zeros_like(whole)], axis=-1).astype(float)
            return entry(interval(recall, counts, rng, n_resamples=n_resamples))

        losses: dict[str, Any] = {
            "n": len(flagged), "n_ghosted": int(ghosted.sum()), "n_flagged": int(flagged.sum()),
            "ghosted_missed": share(ghosted & ~flagged, ghosted),
            "area_missed": share(np.where(flagged, 0, self.area_px), self.area_px),
        }  # fmt: skip
        for name in AREA_THRESHOLDS:
            true, found = self.true[name], self.found[name]
            kept = found & flagged[:, None]
            alone, cascade = (_counts(true, guess) for guess in (found, kept))
            unseen = np.where(flagged, 0, true.sum(axis=1))
            losses[name] = {
                "n_true": int(true.sum()),
                "ccds_unseen": share(unseen, true.sum(axis=1)),
                "ccds_lost": share(alone[:, 0] - cascade[:, 0], alone[:, 1]),
                "alone": entry(interval(f1_score, alone, rng, n_resamples=n_resamples)),
                "cascade": entry(interval(f1_score, cascade, rng, n_resamples=n_resamples)),
                "difference": entry(paired_difference(f1_score, cascade, alone, rng, n_resamples=n_resamples)),
                "n_false_alone": int((found & ~true).sum()),
                "n_false_prevented": int((found & ~true & ~flagged[:, None]).sum()),
                "n_false_left": int((kept & ~true).sum()),
            }
        return losses


def _counts(true: BoolArray, guess: BoolArray) -> npt.NDArray[np.int64]:
    """(N, 3) hits, true and predicted CCDs."""
    return np.stack([(true & guess).sum(axis=1), true.sum(axis=1), guess.sum(axis=1)], axis=-1)
