"""One-to-one matching of the instances of two labellings."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray
from cascade.core.run_lengths import overlaps
from cascade.evaluate.counting import IntArray
from cascade.evaluate.labelling import Found, Labelling

OVERLAPS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Minimum intersection over union of a match; those of the paper's panels."""

MATCHED = ("All", *(artifact.title for artifact in Artifact), "class-blind")
"""Groups for which matches are counted: ``All`` requires equal classes, ``class-blind`` does not."""


def match_counts(one: Found, other: Found, *, boxes: bool = False) -> IntArray:
    """
    Count the artifacts of a maximum one-to-one matching.

    Parameters
    ----------
    one, other : Found
        Truth and prediction; the count is symmetric.
    boxes : bool
        Match boxes instead of masks.

    Returns
    -------
    ndarray of int32, shape (n_overlaps, n_matched, 3)
        Matches, artifacts of `one` and of `other`, for each of `OVERLAPS` and `MATCHED`.
    """
    counts = np.zeros((len(OVERLAPS), len(MATCHED), 3), np.int32)
    shared = overlaps(one.rles, other.rles, boxes=boxes)
    same = one.classes[:, None] == other.classes[None, :]
    for k, least in enumerate(OVERLAPS):
        close = shared >= least
        for m, name in enumerate(MATCHED):
            rows, columns = (_of_kind(found, name) for found in (one, other))
            counts[k, m] = 0, rows.sum(), columns.sum()
            allowed = close if name == "class-blind" else close & same
            counts[k, m, 0] = _most_matches(allowed[np.ix_(rows, columns)])
    return counts


def all_match_counts(one: Labelling, other: Labelling, *, boxes: bool = False) -> IntArray:
    """`match_counts` of every exposure: (N, n_overlaps, n_matched, 3)."""
    return np.stack([match_counts(a, b, boxes=boxes) for a, b in zip(one.found, other.found, strict=True)])


def _of_kind(found: Found, name: str) -> BoolArray:
    """Which artifacts count for an entry of `MATCHED`."""
    if name in ("All", "class-blind"):
        return np.ones(len(found), bool)
    of_class: BoolArray = found.classes == Artifact.from_label(name)
    return of_class


def _most_matches(allowed: BoolArray) -> int:
    """Size of the largest matching of a bipartite graph."""
    if max(allowed.sum(axis=0).max(initial=0), allowed.sum(axis=1).max(initial=0)) <= 1:
        return int(allowed.sum())  # no ambiguity
    return int(np.sum(maximum_bipartite_matching(csr_array(allowed)) >= 0))
