"""
Study 4: the annotated real exposures, by the cascade, by Mask R-CNN alone, and by annotators.

The shipped models were trained on these exposures, so their metrics on them are optimistic. With the folders of a
cross-validation (`cascade train --cross-validate`), each exposure is also evaluated by networks for which its night was
held out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.bench.seasons import Networks
from cascade.bench.study import Progress
from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.core.exposure import UInt8Array
from cascade.evaluate import (
    GROUPS,
    CcdCells,
    Found,
    Labelling,
    Truth,
    ccd_hits,
    f1_score,
    interval,
    match_exposures,
    paired_difference,
    read_truth,
)
from cascade.evaluate.agreement import alive_ccds
from cascade.evaluate.curves import human_hits, mean_f1, medians
from cascade.evaluate.sections import entry, numbers
from cascade.evaluate.systems import annotator_labellings, run_system
from cascade.inputs import open_inputs
from cascade.networks.engines import KerasEngine
from cascade.networks.model_info import read_model
from cascade.networks.models import find_model, load_network
from cascade.pipeline.season import run_season
from cascade.runs.run import Run
from cascade.storage.atomic import read_json
from cascade.training.measure import Setting, artifacts

AREA_THRESHOLDS = (0.0, 0.05)
IMAGES, ANNOTATIONS = "des_common_core/images", "des_common_core/annotations"
"""Under the folder that ``$CASCADE_DATA`` names."""

_N_RESAMPLES = 1000
_PAPER = 0  # the paper's boxes, among the geometries of `ccd_hits`


@dataclass(frozen=True, slots=True)
class Folds:
    """
    Folders that `cascade train --cross-validate` wrote.

    Attributes
    ----------
    segment
        Of the segmenter, or None.
    screen
        Of the screen, or None.
    """

    segment: Path | None = None
    screen: Path | None = None


def study_real(networks: Networks, data: Path, folds: Folds, *, progress: Progress) -> dict[str, Any]:
    """
    Measure CCD F1 on annotated real exposures.

    Parameters
    ----------
    networks : Networks
    data : Path
        Folder with `IMAGES` and `ANNOTATIONS`.
    folds : Folds
    progress : callable

    Returns
    -------
    dict
        `systems` by name: `f1` by area threshold and group, `f1_per_exposure`, whether it was trained on (`seen`) the
        exposures; `people`, the annotators, in the same form; `differences` of the cascade from Mask R-CNN alone.

    Raises
    ------
    ConfigError
        If a cross-validation is of other exposures.
    """
    camera = Camera.decam()
    cells = CcdCells.of(camera)
    truth = read_truth([data / ANNOTATIONS])
    progress("the cascade, and Mask R-CNN alone")
    with tempfile.TemporaryDirectory(prefix="cascade-bench-") as folder:
        runs = {
            name: run_season(
                str(data / IMAGES), Path(folder) / name, screen=screen, segment=networks.segment, engine=networks.engine
            )
            for name, screen in (("cascade", networks.screen), ("alone", None))
        }
        matches = match_exposures(runs["cascade"].table("exposures"), truth.names)
        names = [name for name in truth.names if name in matches.exposures]
        exposures = [matches.exposures[name] for name in names]
        labellings = {name: _labelling(name, run, exposures, cells) for name, run in runs.items()}
        rows = runs["cascade"].table("exposures").take(exposures)
    expnums = rows["expnum"].to_pylist()
    flagged = rows["flagged"].to_numpy(zero_copy_only=False).astype(bool)
    n_flagged = {"cascade": int(flagged.sum())}
    if folds.segment is not None:
        progress("networks of the cross-validation, each on its held-out exposures")
        found = held_out(folds.segment, expnums, _images(data / IMAGES, expnums))
        labellings["alone, cross-validated"] = Labelling.of("alone, cross-validated", found, cells)
        if folds.screen is not None:
            flagged = held_out_flags(folds.screen, expnums)
            n_flagged["cascade, cross-validated"] = int(flagged.sum())
            kept = [one if flag else Found.empty() for one, flag in zip(found, flagged, strict=True)]
            labellings["cascade, cross-validated"] = Labelling.of("cascade, cross-validated", kept, cells)
    seen = _seen(networks, expnums)
    return {
        "study": "real", "scale": 1, "networks": networks.as_json(),
        "n": len(names), "n_annotators": len(truth.annotators),
        "groups": list(GROUPS), "area_thresholds": list(AREA_THRESHOLDS), "n_flagged": n_flagged, "n_seen": seen,
        **_figures(truth, names, labellings, cells, alive_ccds(expnums, camera), trained=any(seen.values())),
    }  # fmt: skip


def _labelling(name: str, run: Run, exposures: Sequence[int], cells: CcdCells) -> Labelling:
    """The labelling of a run."""
    labelling = run_system(name, run, exposures, cells).labelling
    if not isinstance(labelling, Labelling):
        msg = f"{name}: expected a run with masks"
        raise ConfigError(msg)
    return labelling


def _figures(
    truth: Truth,
    names: Sequence[str],
    labellings: dict[str, Labelling],
    cells: CcdCells,
    alive: npt.NDArray[np.bool_],
    *,
    trained: bool,
) -> dict[str, Any]:
    """F1 of all systems and annotators by area threshold and group, in the paper's boxes, against the majority."""
    truths = annotator_labellings(truth, names, cells)
    hits = {
        name: ccd_hits(truths, labelling, cells, alive, AREA_THRESHOLDS)[:, _PAPER]
        for name, labelling in labellings.items()
    }
    rng = np.random.default_rng(0)
    people = human_hits(truths, cells, alive, AREA_THRESHOLDS)
    pairs = [("alone", "cascade"), ("alone, cross-validated", "cascade, cross-validated")]
    return {
        "systems": {
            name: {
                "f1": entry(interval(f1_score, one, rng, n_resamples=_N_RESAMPLES)),
                "f1_per_exposure": numbers(mean_f1(one)),
                "seen": trained and "cross-validated" not in name,
            }
            for name, one in hits.items()
        },
        "differences": {
            cascade: entry(paired_difference(f1_score, hits[cascade], hits[alone], rng, n_resamples=_N_RESAMPLES))
            for alone, cascade in pairs
            if cascade in hits
        },
        "people": numbers(medians(people)["f1"][_PAPER]),
        "people_per_exposure": numbers(np.median([mean_f1(one) for one in people], axis=0)[_PAPER]),
    }


def held_out(folder: Path, expnums: Sequence[int], images: UInt8Array) -> list[Found]:
    """
    Predict every exposure with the network of the fold in which it was held out.

    Parameters
    ----------
    folder : Path
        What `cascade train segment --cross-validate` wrote.
    expnums : sequence of int
        Of N exposures.
    images : ndarray of uint8, shape (N, 400, 400)

    Returns
    -------
    list of Found
        N of them, each at the setting chosen on the other folds.

    Raises
    ------
    ConfigError
        If the folds are of other exposures.
    """
    figures = _cross_validation(folder, expnums)
    found: list[Found] = [Found.empty()] * len(expnums)
    for k, (fold, setting) in enumerate(zip(figures["folds"], figures["nested"]["settings"], strict=True)):
        info = read_model(folder / f"fold-{k}")
        at = [expnums.index(expnum) for expnum in fold]
        outputs = KerasEngine(load_network(info), info.task)(images[at])
        for n, instances in zip(at, artifacts(outputs, Setting(**setting)), strict=True):
            found[n] = Found.of(instances)
    return found


def held_out_flags(folder: Path, expnums: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which held-out exposures the screens of a cross-validation flagged."""
    figures = _cross_validation(folder, expnums)
    return np.array([figures["scores"][str(expnum)] >= figures["threshold"] for expnum in expnums], bool)


def _cross_validation(folder: Path, expnums: Sequence[int]) -> dict[str, Any]:
    """The metrics of a cross-validation, which must be of these exposures."""
    figures = read_json(folder / "cross_validation.json")
    known = sorted(expnum for fold in figures["folds"] for expnum in fold)
    if known != sorted(expnums):
        msg = f"{folder}: expected a cross-validation on the same {len(expnums)} exposures, got {len(known)}"
        raise ConfigError(msg)
    return figures


def _images(folder: Path, expnums: Sequence[int]) -> UInt8Array:
    """Previews in the order of exposure numbers."""
    reader = open_inputs(folder)
    images = {reader.source(n).expnum: n for n in range(len(reader))}
    return np.stack([reader.read(images[expnum]).image for expnum in expnums])


def _seen(networks: Networks, expnums: Sequence[int]) -> dict[str, int]:
    """Number of the exposures that each model was trained on."""
    trained_on = {name: find_model(name).training.get("exposures", ()) for name in (networks.screen, networks.segment)}
    return {Path(name).name: len(set(exposures) & set(expnums)) for name, exposures in trained_on.items()}
