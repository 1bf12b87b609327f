"""The rule that says which CCDs a survey should not use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, StoreError
from cascade.core.exposure import MJD_RANGE
from cascade.core.fractions import fraction_column, fraction_labels

VETO = pa.schema(
    [
        pa.field("expnum", pa.int64(), nullable=False),
        pa.field("ccdnum", pa.int16(), nullable=False),
        pa.field("detpos", pa.string(), nullable=False),
        pa.field("area_fraction", pa.float32()),
        pa.field("max_score", pa.float32()),
        pa.field("mjd_obs", pa.float64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("analyst", pa.string(), nullable=False),
    ]
)
"""Columns of a veto list: one row per (expnum, ccdnum), rising; null where an entry that is not ours says nothing."""

REASON = "Ghost/Scatter"
"""What DES lists call it."""

STAR = "star"
"""Column with the star behind a CCD, which CSV and Parquet lists have where one is known."""

ANALYST = "cascade"
"""Who made an entry; entries of anybody else are kept when a list is rewritten."""


@dataclass(frozen=True, slots=True)
class VetoRule:
    """
    Which touched CCDs are vetoed.

    Attributes
    ----------
    min_area
        Smallest covered fraction of a CCD, in [0, 1]; at 0 one pixel is enough.
    classes
        Classes that count. For some but not all of them the covered fraction is not stored; the sum of theirs, at most
        that of all classes, stands for it: exact for one class and for classes that do not overlap, else an upper
        bound.
    min_score
        Smallest `CcdRow.max_score`, in [0, 1]; that of any class, even one that does not count.
    min_ccds
        Smallest number of such CCDs for an exposure to be listed at all.
    keep_dead
        List CCDs that were dead in their exposure, too.
    reviewed
        Whether the tables were corrected by people, see `cascade.runs.verdicts`; lists say so.

    Raises
    ------
    ConfigError
        If a value is out of range, or no class or one class twice is given.
    """

    min_area: float = 0.05
    classes: tuple[Artifact, ...] = tuple(Artifact)
    min_score: float = 0.0
    min_ccds: int = 1
    keep_dead: bool = False
    reviewed: bool = False

    def __post_init__(self) -> None:
        for name in ("min_area", "min_score"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name}: expected a number in [0, 1], got {getattr(self, name)}"
                raise ConfigError(msg)
        if not self.classes or len(set(self.classes)) < len(self.classes):
            msg = f"classes: expected at least one and each once, got {self.classes}"
            raise ConfigError(msg)
        if self.min_ccds < 1:
            msg = f"min_ccds: expected at least 1, got {self.min_ccds}"
            raise ConfigError(msg)

    def __str__(self) -> str:
        classes = ",".join(class_.label for class_ in self.classes)
        dead = "in" if self.keep_dead else "out"
        limits = f"min_area={self.min_area:g} classes={classes} min_score={self.min_score:g}"
        people = " reviewed=yes" if self.reviewed else ""
        return f"{limits} min_ccds={self.min_ccds} dead_ccds={dead}{people}"


@dataclass(frozen=True, slots=True)
class VetoList:
    """
    The vetoed CCDs of a run.

    Attributes
    ----------
    table
        Columns of `VETO`; ``area_fraction`` is that of the rule's classes.
    n_unnamed
        CCDs that the rule vetoes but that no list can name, because the expnum is unknown.
    rule
        What was asked.
    camera
        Whose CCDs these are; it says when a night begins.
    stars
        The star behind a CCD, by (expnum, ccdnum), where one is known; see `cascade.runs.stars`.
    """

    table: pa.Table
    n_unnamed: int
    rule: VetoRule
    camera: Camera
    stars: Mapping[tuple[int, int], str] = field(default_factory=dict)


def veto_rows(ccds: pa.Table, exposures: pa.Table, rule: VetoRule, camera: Camera) -> VetoList:
    """
    Apply a rule to the CCD table of a run.

    Parameters
    ----------
    ccds, exposures : pyarrow.Table
        The tables of a run, in any order.
    rule : VetoRule
        Which CCDs to veto.
    camera : Camera
        Knows the CCDs that were dead; they are left out unless the rule keeps them.

    Returns
    -------
    VetoList
        One row per (expnum, ccdnum), rising; an expnum that was processed twice keeps the larger values and the
        earlier time, of those that are in `MJD_RANGE`.

    Raises
    ------
    ConfigError
        If the rule names a class that the run does not tell from the others.
    StoreError
        If it is for all classes, and the run has one that is not known.
    """
    area = _area_of(ccds, rule.classes)
    # Rounded like the column, so that a fraction equal to the limit meets it.
    least = (pa.scalar(np.float32(limit)) for limit in (rule.min_area, rule.min_score))
    enough = pc.and_(pc.greater_equal(area, next(least)), pc.greater_equal(ccds["max_score"], next(least)))
    chosen = pc.and_(enough, pc.greater(area, 0))
    ccds, area = ccds.filter(chosen), area.filter(chosen)
    row_of = pc.index_in(ccds["exposure"], value_set=exposures["exposure"])
    times = exposures["mjd_obs"]
    possible = pc.and_(pc.greater_equal(times, MJD_RANGE[0]), pc.less_equal(times, MJD_RANGE[1]))
    mjd_obs = pc.if_else(possible, times, None).take(row_of)  # an old run may hold a 0, which would be the least
    rows = ccds.select(["expnum", "ccdnum", "detpos", "max_score"])
    rows = rows.append_column("area_fraction", area).append_column("mjd_obs", mjd_obs)
    named = rows.filter(pc.fill_null(pc.greater(rows["expnum"], 0), fill_value=False))
    listed = _merged(named if rule.keep_dead else _alive(named, camera))
    counts = Counter(listed["expnum"].to_pylist())
    enough = pa.array([counts[expnum] >= rule.min_ccds for expnum in listed["expnum"].to_pylist()], pa.bool_())
    return VetoList(listed.filter(enough), rows.num_rows - named.num_rows, rule, camera)


def _area_of(ccds: pa.Table, classes: tuple[Artifact, ...]) -> pa.ChunkedArray:
    """Fraction of each CCD that some classes cover, or its bound; see `VetoRule`."""
    known, every = fraction_labels(ccds), [artifact.label for artifact in Artifact]
    if set(classes) == set(Artifact):
        if not set(known) <= set(every):
            msg = f"ccds: expected the classes {', '.join(every)}, got {', '.join(known)}: a rule for all loses some"
            raise StoreError(msg)
        return ccds["area_fraction"]
    wanted = [artifact.label for artifact in classes]
    if not set(wanted) <= set(known):
        msg = f"classes: expected some of those of the run, {', '.join(known)}, got {', '.join(wanted)}"
        raise ConfigError(msg)
    first, *others = (ccds[fraction_column(label)] for label in wanted)
    for fraction in others:
        first = pc.add(first, fraction)
    return pc.min_element_wise(first, ccds["area_fraction"])


def _alive(rows: pa.Table, camera: Camera) -> pa.Table:
    """Rows of CCDs that were not dead in their exposure."""
    dead = cache(camera.dead_ccdnums)
    pairs = zip(rows["expnum"].to_pylist(), rows["ccdnum"].to_pylist(), strict=True)
    return rows.filter(pa.array([ccdnum not in dead(expnum) for expnum, ccdnum in pairs], pa.bool_()))


def _merged(rows: pa.Table) -> pa.Table:
    """One row per (expnum, ccdnum), rising, with the larger values and the earlier time."""
    values = [("area_fraction", "max"), ("max_score", "max"), ("mjd_obs", "min")]
    groups = rows.group_by(["expnum", "ccdnum", "detpos"]).aggregate(values)
    groups = groups.rename_columns([name.removesuffix("_max").removesuffix("_min") for name in groups.column_names])
    for name, value in (("reason", REASON), ("analyst", ANALYST)):
        groups = groups.append_column(name, pa.array([value] * groups.num_rows, pa.string()))
    return groups.select(VETO.names).sort_by([("expnum", "ascending"), ("ccdnum", "ascending")]).cast(VETO)
