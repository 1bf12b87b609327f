"""Systems to evaluate: runs, annotators and veto lists, matched to the same exposures."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cascade.camera import Camera
from cascade.core.errors import ConfigError, StoreError
from cascade.core.exposure import BoolArray
from cascade.core.via import Annotations, region_instances
from cascade.evaluate.bootstrap import FloatArray
from cascade.evaluate.counting import CcdCells
from cascade.evaluate.labelling import AnyLabelling, Found, Labelling, VetoLabelling, run_found
from cascade.evaluate.truth import Truth
from cascade.runs.classes import check_known
from cascade.runs.run import Run, open_run
from cascade.veto import read_list, split_form
from cascade.veto.rules import REASON

DECAM = "decam"
"""The camera of the annotated exposures; the paper's boxes are defined for no other."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """
    A classification of N exposures as ghosted or clean.

    Attributes
    ----------
    flagged
        (N,) bool.
    scores
        (N,) in [0, 1]; None without scores.
    """

    flagged: BoolArray
    scores: FloatArray | None


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """
    One result over N exposures.

    Attributes
    ----------
    name
        Shown in tables and figures.
    labelling
        Its artifacts, or its list of CCDs; None where only whole exposures are compared.
    answers
        By source: ``screen``, and ``cascade`` (an artifact was found in a flagged exposure) or the kind of
        the competitor.
    """

    name: str
    labelling: AnyLabelling | None
    answers: Mapping[str, Answer]


def complete_run(place: Path | str) -> Run:
    """
    Open a complete run.

    Raises
    ------
    StoreError
        If it is not a run, or has pending batches.
    """
    run = open_run(place)
    summary = run.summary()
    if summary.n_done < summary.n_batches:
        done = f"{summary.n_done} of {summary.n_batches} batches"
        msg = f"{run.path}: expected a complete run, got {done}; resume the run"
        raise StoreError(msg)
    return run


def run_system(name: str, run: Run, exposures: Sequence[int], cells: CcdCells | None) -> System:
    """
    The results of a run for some of its exposures.

    Parameters
    ----------
    name : str
    run : Run
    exposures : sequence of int
        Their numbers in the run.
    cells : CcdCells or None
        None reads no masks.

    Raises
    ------
    StoreError
        If its artifacts are damaged, or of an unknown class.
    ConfigError
        If it has masks of another camera than DECam.
    """
    if cells is not None and run.config.camera != DECAM:
        msg = f"{run.path}: expected a run of {DECAM}, whose CCDs are counted, got one of {run.config.camera}"
        raise ConfigError(msg)
    check_known(run.config.classes, run.path)
    table = run.table("exposures")
    artifacts = run.table("artifacts")
    at = np.asarray(exposures, np.int64)
    rows = table.take(pa.array(_positions(table["exposure"].to_numpy(), at)))
    best = np.zeros(int(table["exposure"].to_numpy().max(initial=0)) + 1)
    np.maximum.at(best, artifacts["exposure"].to_numpy(), artifacts["score"].to_numpy())
    ghosted = rows["n_artifacts"].to_numpy() > 0
    answers = {"cascade": Answer(ghosted, np.clip(best[at], 0, 1))}
    scores = rows["screen_score"].to_numpy(zero_copy_only=False).astype(float)
    if run.config.screen is not None and np.all(np.isfinite(scores)):
        answers = {"screen": Answer(rows["flagged"].to_numpy(zero_copy_only=False).astype(bool), scores), **answers}
    labelling = None if cells is None else Labelling.of(name, run_found(artifacts, exposures), cells)
    return System(name, labelling, answers)


def annotator_labellings(truth: Truth, names: Sequence[str], cells: CcdCells) -> list[Labelling]:
    """The annotators of a truth over some of its images, one mask plane at a time."""
    return [
        Labelling.of(annotator, (Found.of(region_instances(images[name])) for name in names), cells)
        for annotator, images in zip(truth.annotators, truth.regions, strict=True)
    ]


def annotator_system(annotations: Annotations, names: Sequence[str], cells: CcdCells) -> System:
    """An annotator as a competitor, over images that they annotated."""
    found = (Found.of(region_instances(annotations.images[name])) for name in names)
    labelling = Labelling.of(annotations.path.stem, found, cells)
    return System(labelling.name, labelling, {"annotator": Answer(labelling.ghosted(), None)})


def veto_system(spec: str, expnums: Sequence[int | None], camera: Camera) -> System:
    """
    Veto lists of any format that `read_list` knows, such as those of DES, as one competitor.

    Parameters
    ----------
    spec : str
        A file, or a pattern of several (``'ghost-scatter-y*.txt'``) that are parts of one list; ``NAME=`` may stand
        before it, and the form of the list where that is not clear: ``pairs:list.txt``.
    expnums : sequence of int or None
        Of the exposures.
    camera : Camera
        Of the exposures.

    Raises
    ------
    ConfigError
        If no file matches, an exposure has no number, or all entries have another reason than ghosts.
    InputError
        If a list cannot be read.
    """
    name, equals, pattern = spec.rpartition("=")
    if not equals or Path(spec).is_file():
        name, pattern = split_form(spec)[1].stem.rstrip("*"), spec
    form, pattern = split_form(pattern)[0], str(split_form(pattern)[1])
    files = [Path(pattern)] if Path(pattern).is_file() else [Path(file) for file in sorted(glob.glob(pattern))]  # noqa: PTH207 - takes absolute patterns
    if not files:
        msg = f"{pattern}: expected a veto list, found no such file"
        raise ConfigError(msg)
    if None in expnums:
        msg = f"{pattern}: a veto list needs the exposure number of every exposure, got {expnums.count(None)} without"
        raise ConfigError(msg)
    rows_of: dict[int | None, list[int]] = {}
    for n, expnum in enumerate(expnums):
        rows_of.setdefault(expnum, []).append(n)
    listed = np.zeros((len(expnums), len(camera.ccds)), bool)
    for file in files:
        table = read_list(file, camera, form)
        ghosts = table.filter(pc.equal(table["reason"], REASON))
        if len(table) and not len(ghosts):
            msg = f"{file}: expected entries with the reason {REASON}, got none of {len(table)}"
            raise ConfigError(msg)
        for expnum, ccdnum in zip(ghosts["expnum"].to_pylist(), ghosts["ccdnum"].to_pylist(), strict=True):
            listed[rows_of.get(expnum, []), ccdnum - 1] = True
    flagged: BoolArray = np.any(listed, axis=1)
    return System(name, VetoLabelling(name, listed), {"list": Answer(flagged, None)})


def _positions(numbers: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Positions of the requested numbers."""
    order = np.argsort(numbers)
    return order[np.searchsorted(numbers, wanted, sorter=order)]
