"""Which exposures of a truth the models have learned from: their figures say how well they remember these."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

Learned = Mapping[str, Collection[int] | None]
"""Exposure numbers that models learned from, by the name of the model; None where nobody knows."""

NOTHING_SAID: Learned = MappingProxyType({})


def n_learned(learned: Learned, expnums: Sequence[int | None]) -> dict[str, int | None]:
    """Count, of some exposures, those that each model learned from; None where nobody knows."""
    return {
        name: None if known is None else sum(expnum in known for expnum in expnums) for name, known in learned.items()
    }


def learned_words(metrics: Mapping[str, Any]) -> str:
    """One sentence for each model that learned from the truth, or of which nobody knows; none if there is none."""
    n, counts = metrics["exposures"]["n"], metrics["truth"]["learned"]
    words = [
        f"{name} learned from {count} of these {n} exposures: its figures say how well it remembers them, not how it "
        "does on new ones."
        for name, count in counts.items()
        if count
    ]
    words += [f"What {name} learned from is not known." for name, count in counts.items() if count is None]
    return " ".join(words)
