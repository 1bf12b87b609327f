"""CCDs that artifacts touch, and the lists of those that a survey should not use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from cascade.atomic import written_aside
from cascade.camera import Camera
from cascade.errors import ConfigError, InputError
from cascade.exposure import Artifact, Instances

VETO = pa.schema(
    [
        pa.field("expnum", pa.int64(), nullable=False),
        pa.field("ccdnum", pa.int16(), nullable=False),
        pa.field("detpos", pa.string(), nullable=False),
        pa.field("area_fraction", pa.float32(), nullable=False),
        pa.field("max_score", pa.float32(), nullable=False),
        pa.field("mjd_obs", pa.float64()),
    ]
)
"""Columns of a veto list: one row per (expnum, ccdnum), rising."""

DES_LIST = pa.schema(
    [
        pa.field("date", pa.date32()),
        pa.field("expnum", pa.int64(), nullable=False),
        pa.field("ccd", pa.int64()),
        pa.field("detpos", pa.string()),
        pa.field("ccdnum", pa.int16(), nullable=False),
    ]
)
"""Columns of a DES exclude list; null where the list says ``nan``."""

DES_HEADER = "#date expnum ccd id ccdnum"

_MAX_DES_BYTES = 64 * 2**20  # the largest real list, DELVE's, is under 1 MB
_MJD_EPOCH = date(1858, 11, 17)


@dataclass(frozen=True, slots=True)
class CcdRow:
    """
    A CCD that the artifacts of one exposure touch.

    Attributes
    ----------
    ccdnum, detpos
        Which CCD.
    area_fraction
        Fraction of its preview pixels under any artifact, in (0, 1].
    bright_fraction, faint_fraction, rays_fraction
        The same for one class; classes may overlap.
    max_score
        Highest confidence of the artifacts, of any class, that touch it.
    """

    ccdnum: int
    detpos: str
    area_fraction: float
    bright_fraction: float
    faint_fraction: float
    rays_fraction: float
    max_score: float


def ccd_rows(instances: Instances, camera: Camera) -> list[CcdRow]:
    """
    List the CCDs that the artifacts of one exposure touch by at least one pixel.

    Parameters
    ----------
    instances : Instances
        N instances on an (H, W) focal-plane preview.
    camera : Camera
        CCD layout on the same (H, W) grid.

    Returns
    -------
    list of CcdRow
        One per touched CCD, by rising ccdnum; empty if none.

    Raises
    ------
    InputError
        If the masks are not on the camera's grid.
    """
    if instances.masks.shape[1:] != camera.shape:
        msg = f"masks: expected the camera's shape {camera.shape}, got {instances.masks.shape[1:]}"
        raise InputError(msg)
    plane = instances.bit_mask()
    areas = np.maximum(camera.areas(), 1)
    bright, faint, rays = (camera.count((plane & class_.bit) > 0) / areas for class_ in Artifact)
    any_class = camera.count(plane > 0) / areas
    max_score = np.zeros(len(areas))
    for mask, score in zip(instances.masks, instances.scores, strict=True):
        touched = camera.count(mask) > 0
        max_score[touched] = np.maximum(max_score[touched], score)
    return [
        CcdRow(
            ccdnum=ccd.ccdnum,
            detpos=ccd.detpos,
            area_fraction=float(any_class[ccd.ccdnum]),
            bright_fraction=float(bright[ccd.ccdnum]),
            faint_fraction=float(faint[ccd.ccdnum]),
            rays_fraction=float(rays[ccd.ccdnum]),
            max_score=float(max_score[ccd.ccdnum]),
        )
        for ccd in camera.ccds
        if any_class[ccd.ccdnum] > 0
    ]


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

    Raises
    ------
    ConfigError
        If a value is out of range, or no class or one class twice is given.
    """

    min_area: float = 0.05
    classes: tuple[Artifact, ...] = tuple(Artifact)
    min_score: float = 0.0

    def __post_init__(self) -> None:
        for name in ("min_area", "min_score"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name}: expected a number in [0, 1], got {getattr(self, name)}"
                raise ConfigError(msg)
        if not self.classes or len(set(self.classes)) < len(self.classes):
            msg = f"classes: expected at least one and each once, got {self.classes}"
            raise ConfigError(msg)

    def __str__(self) -> str:
        classes = ",".join(class_.label for class_ in self.classes)
        return f"min_area={self.min_area:g} classes={classes} min_score={self.min_score:g}"


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
    """

    table: pa.Table
    n_unnamed: int
    rule: VetoRule


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
        Knows the CCDs that were dead; they are left out.

    Returns
    -------
    VetoList
        One row per (expnum, ccdnum), rising; an expnum that was processed twice keeps the larger values.
    """
    area = _area_of(ccds, rule.classes)
    # Rounded like the column, so that a fraction equal to the limit meets it.
    least = (pa.scalar(np.float32(limit)) for limit in (rule.min_area, rule.min_score))
    enough = pc.and_(pc.greater_equal(area, next(least)), pc.greater_equal(ccds["max_score"], next(least)))
    chosen = pc.and_(enough, pc.greater(area, 0))
    ccds, area = ccds.filter(chosen), area.filter(chosen)
    row_of = pc.index_in(ccds["exposure"], value_set=exposures["exposure"])
    mjd_obs = exposures["mjd_obs"].take(row_of)
    rows = ccds.select(["expnum", "ccdnum", "detpos", "max_score"])
    rows = rows.append_column("area_fraction", area).append_column("mjd_obs", mjd_obs)
    named = rows.filter(pc.is_valid(rows["expnum"]))
    return VetoList(_merged(_alive(named, camera)), rows.num_rows - named.num_rows, rule)


def write_veto(vetoes: VetoList, path: Path | str, format: str) -> None:
    """
    Write a veto list; an interrupted write leaves the old file or none.

    Parameters
    ----------
    vetoes : VetoList
        What to write.
    path : Path or str
        Where to.
    format : str
        ``csv``; ``parquet``, with the rule in its metadata; or ``des``, the exclude list of DES and DELVE.

    Raises
    ------
    ConfigError
        If the format is unknown.
    """
    if format not in _WRITERS:
        msg = f"veto format: expected one of {', '.join(_WRITERS)}, got {format!r}"
        raise ConfigError(msg)
    with written_aside(Path(path)) as aside:
        _WRITERS[format](vetoes, aside)


def read_des(path: Path | str) -> pa.Table:
    """
    Read an exclude list in the format of DES and DELVE.

    Parameters
    ----------
    path : Path or str
        Lines of ``date expnum ccd id ccdnum``; ``#`` comments may stand anywhere, ``nan`` for date, ccd and id.

    Returns
    -------
    pyarrow.Table
        Columns of `DES_LIST`, in the order of the file.

    Raises
    ------
    InputError
        If the file is too large to be such a list, is not text, or a line is malformed.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > _MAX_DES_BYTES:
        msg = f"{path}: expected an exclude list of at most {_MAX_DES_BYTES} bytes, got {size}"
        raise InputError(msg)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        msg = f"{path}: expected text, got {error}"
        raise InputError(msg) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        values = line.partition("#")[0].split()
        if values:
            rows.append(_parse_des(values, f"{path}:{number}"))
    return pa.Table.from_pylist(rows, DES_LIST)


def night(mjd_obs: float) -> date:
    """Night of an exposure in Chile: the UTC date of the noon before it, which is the local date at sunset."""
    return _MJD_EPOCH + timedelta(days=int(np.floor(mjd_obs - 0.5)))


def _area_of(ccds: pa.Table, classes: tuple[Artifact, ...]) -> pa.ChunkedArray:
    """Fraction of each CCD that some classes cover, or its bound; see `VetoRule`."""
    if set(classes) == set(Artifact):
        return ccds["area_fraction"]
    total = ccds[f"{classes[0].label}_fraction"]
    for class_ in classes[1:]:
        total = pc.add(total, ccds[f"{class_.label}_fraction"])
    return pc.min_element_wise(total, ccds["area_fraction"])


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
    return groups.select(VETO.names).sort_by([("expnum", "ascending"), ("ccdnum", "ascending")]).cast(VETO)


def _write_csv(vetoes: VetoList, path: Path) -> None:
    """Write comma-separated values; unknown times are empty."""
    with path.open("wb") as file:
        # Arrow would quote the names of the columns.
        file.write(",".join(vetoes.table.column_names).encode() + b"\n")
        csv.write_csv(vetoes.table, file, csv.WriteOptions(include_header=False, quoting_style="none"))


def _write_parquet(vetoes: VetoList, path: Path) -> None:
    """Write Parquet with the rule as metadata of the schema."""
    parquet.write_table(vetoes.table.replace_schema_metadata({"rule": str(vetoes.rule)}), path)


def _write_des(vetoes: VetoList, path: Path) -> None:
    """Write an exclude list; ``ccd``, an index of the ray tracer that made the first lists, is unknown to us."""
    lines = [DES_HEADER, f"# cascade veto {vetoes.rule}"]
    for row in vetoes.table.to_pylist():
        day = "nan" if row["mjd_obs"] is None else f"{night(row['mjd_obs']):%Y%m%d}"
        lines.append(f"{day} {row['expnum']} nan {row['detpos']} {row['ccdnum']}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


_WRITERS: Mapping[str, Callable[[VetoList, Path], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "des": _write_des,
}


def _parse_des(values: list[str], where: str) -> dict[str, object]:
    """One line of an exclude list."""
    if len(values) != len(DES_LIST):
        msg = f"{where}: expected {DES_HEADER.removeprefix('#')!r}, got {' '.join(values)!r}"
        raise InputError(msg)
    day, expnum, ccd, detpos, ccdnum = (None if value.lower() == "nan" else value for value in values)
    try:
        return {
            "date": None if day is None else _day(day),
            "expnum": _number(expnum, 2**63),
            "ccd": None if ccd is None else _number(ccd, 2**63),
            "detpos": detpos,
            "ccdnum": _number(ccdnum, 2**15),
        }
    except ValueError as error:
        msg = f"{where}: expected {DES_HEADER.removeprefix('#')!r}, got {' '.join(values)!r} ({error})"
        raise InputError(msg) from error


def _day(text: str) -> date:
    """A date written YYYYMMDD, or ValueError."""
    if len(text) != 8 or not text.isdecimal():
        msg = f"{text} is not a date"
        raise ValueError(msg)
    return date.fromisoformat(text)


def _number(text: str | None, limit: int) -> int:
    """A whole number in [0, limit), or ValueError."""
    if text is None or not text.isdecimal() or int(text) >= limit:
        msg = f"{text} is not a number below {limit}"
        raise ValueError(msg)
    return int(text)
