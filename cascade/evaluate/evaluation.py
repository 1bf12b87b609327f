"""One run, and any number of competitors, against the truth: everything that `cascade evaluate` reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cascade.camera import Camera
from cascade.core.errors import ConfigError
from cascade.core.exposure import BoolArray
from cascade.core.versions import installed_versions
from cascade.core.via import read_annotations
from cascade.evaluate.agreement import alive_ccds, exposures_section, human_line
from cascade.evaluate.bootstrap import LEVEL, N_RESAMPLES
from cascade.evaluate.ccd import GROUPS
from cascade.evaluate.counting import CcdCells, IntArray
from cascade.evaluate.curves import AREA_THRESHOLDS, ccd_hits
from cascade.evaluate.instances import OVERLAPS
from cascade.evaluate.labelling import AnyLabelling, Labelling
from cascade.evaluate.learned import NOTHING_SAID, Learned, n_learned
from cascade.evaluate.pixels import overlap_px
from cascade.evaluate.screening import SURVEY_PREVALENCE
from cascade.evaluate.sections import (
    ccd_section,
    coco_results,
    coco_section,
    difference_section,
    match_section,
    paper_section,
    pixel_section,
    screening_section,
)
from cascade.evaluate.systems import (
    System,
    annotator_labellings,
    annotator_system,
    complete_run,
    run_system,
    veto_system,
)
from cascade.evaluate.truth import Truth, match_exposures, match_labels, read_stack_labels
from cascade.runs.run import Run

EVALUATION_FORMAT = "ghost-cascade evaluation"
FORMAT_VERSION = 1

MAJORITY = "majority"
"""The consensus of several annotators: the majority vote."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """
    The result of an evaluation.

    Attributes
    ----------
    metrics
        What `metrics.json` holds; see ``docs/metrics.md``.
    names
        Images, or rows of a stack, that were evaluated.
    exposures
        Their numbers in the run.
    truths
        The annotators that define the truth; empty where only whole exposures are compared.
    system
        The run.
    left_out
        Images, or paths of exposures, that were not compared, by reason.
    hits, overlap_px
        CCDs and pixels of the run: see `ccd_hits` and `overlap_px`; None where only whole exposures are compared.
    """

    metrics: dict[str, Any]
    names: tuple[str, ...]
    exposures: tuple[int, ...]
    truths: tuple[Labelling, ...]
    system: System
    left_out: Mapping[str, tuple[str, ...]]
    hits: IntArray | None = None
    overlap_px: IntArray | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """
    Settings of an evaluation.

    Attributes
    ----------
    consensus
        `MAJORITY`, or the name of the reference annotator.
    prevalence
        Share of ghosted exposures in the survey, in (0, 1).
    n_resamples, seed
        Of the bootstrap over exposures.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    consensus: str = MAJORITY
    prevalence: float = SURVEY_PREVALENCE
    n_resamples: int = N_RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.prevalence < 1:
            msg = f"prevalence: expected a share in (0, 1), got {self.prevalence}"
            raise ConfigError(msg)
        if self.n_resamples < 1:
            msg = f"n_resamples: expected at least 1, got {self.n_resamples}"
            raise ConfigError(msg)


def evaluate_run(
    run: Run,
    truth: Truth,
    camera: Camera,
    settings: Settings = Settings(),
    *,
    against: Sequence[Path | str] = (),
    veto: Sequence[str] = (),
    human: Mapping[str, Any] | None = None,
    learned: Learned = NOTHING_SAID,
) -> Evaluation:
    """
    Compare a run with annotations.

    Only exposures common to the truth, the run and all competitors are compared, so that all curves use the same
    sample.

    Parameters
    ----------
    run : Run
        Complete.
    truth : Truth
    camera : Camera
        DECam.
    settings : Settings
    against : sequence of Path or str
        Competitors: run directories or their URLs, or VIA files of annotators that are not in `truth`.
    veto : sequence of str
        Competitors: veto lists; see `cascade.evaluate.systems.veto_system`.
    human : mapping or None
        The human line, from `read_human_line`; None computes it from the annotators of `truth`, if there are several.
    learned : mapping of str to collection of int, or None
        What the models learned from, by name: exposure numbers, or None where nobody knows.

    Raises
    ------
    InputError, StoreError
        If a competitor cannot be read.
    ConfigError
        If no exposure is left to compare, two competitors have one name, or a run is of another camera than DECam.
    """
    matches = match_exposures(
        run.table("exposures"), [*truth.names, *truth.left_out["with regions that are not known"]]
    )
    names = [name for name in truth.names if name in matches.exposures]
    left_out = {**truth.left_out, **matches.left_out}
    rivals, names, missing = _rivals(against, names)
    left_out |= missing
    if not names:
        msg = (
            f"{run.path}: expected exposures that are annotated, got none; annotations have names like {truth.names[0]}"
        )
        raise ConfigError(msg)
    cells = CcdCells.of(camera)
    exposures = [matches.exposures[name] for name in names]
    system = run_system(_name(run.path), run, exposures, cells)
    competitors = [_rival_system(one, names, cells) for one in rivals]
    expnums = _expnums(run, exposures)
    competitors += [veto_system(spec, expnums, camera) for spec in veto]
    systems = [system, *competitors]
    _check_names(systems)
    annotators = annotator_labellings(truth, names, cells)
    truths = _truths(annotators, settings.consensus)
    alive = alive_ccds(expnums, camera)
    if human is None and len(annotators) > 1:
        human = human_line(annotators, cells, alive)
    metrics = _head(run, settings, names, truth.annotators, systems)
    metrics["exposures"] = {
        **exposures_section(truth, len(names)),
        "n_ghosted": int(_ghosted(truths).sum()),
        "left_out": {reason: len(which) for reason, which in left_out.items() if which},
    }
    metrics["truth"]["learned"] = n_learned(learned, expnums)
    metrics["human"] = human
    labellings = {s.name: s.labelling for s in systems if s.labelling is not None}
    hits = {name: ccd_hits(truths, labelling, cells, alive, AREA_THRESHOLDS) for name, labelling in labellings.items()}
    pixels = {
        name: overlap_px(truths, labelling)
        for name, labelling in labellings.items()
        if isinstance(labelling, Labelling)
    }
    metrics |= _artifact_sections(labellings, truths, hits, pixels, settings)
    metrics["screening"] = _screening(systems, _ghosted(truths), settings)
    return Evaluation(
        metrics, tuple(names), tuple(exposures), tuple(truths), system, left_out, hits[system.name], pixels[system.name]
    )


def evaluate_labels(
    run: Run,
    labels: Path,
    settings: Settings = Settings(),
    *,
    against: Sequence[Path | str] = (),
    learned: Learned = NOTHING_SAID,
) -> Evaluation:
    """
    Compare a run over a stack of previews with labels of whole exposures, 1 for ghosted.

    Parameters
    ----------
    run : Run
        Complete.
    labels : Path
        A ``y_*.npy``, as beside Chang's stacks.
    settings : Settings
    against : sequence of Path or str
        Run directories over the same stack, or their URLs.
    learned : mapping of str to collection of int, or None
        As `evaluate_run` takes it.

    Raises
    ------
    InputError, StoreError, ConfigError
        If an input cannot be read, or inputs do not match.
    """
    ghosted = read_stack_labels(labels)
    matches = match_labels(run.table("exposures"), ghosted, labels)
    names = sorted(matches.exposures, key=int)
    if not names:
        msg = f"{run.path}: expected exposures to compare, got none of {len(ghosted)} that did not fail"
        raise ConfigError(msg)
    systems = [run_system(_name(run.path), run, [matches.exposures[name] for name in names], None)]
    for place in against:
        rival = complete_run(place)
        found = match_labels(rival.table("exposures"), ghosted, labels)
        if found.exposures.keys() != matches.exposures.keys():
            msg = f"{rival.path}: expected the same exposures to have failed as in {run.path}"
            raise ConfigError(msg)
        systems.append(run_system(_name(rival.path), rival, [found.exposures[name] for name in names], None))
    _check_names(systems)
    truth = ghosted[[int(name) for name in names]]
    metrics = _head(run, settings, names, (labels.stem,), systems)
    metrics["exposures"] = {
        "n": len(names),
        "n_ghosted": int(truth.sum()),
        "left_out": {reason: len(which) for reason, which in matches.left_out.items() if which},
        "problems": {},
    }
    metrics["truth"]["learned"] = n_learned(learned, _expnums(run, [matches.exposures[name] for name in names]))
    metrics |= dict.fromkeys(("human", "ccd", "pixels", "instances", "differences"))
    metrics["screening"] = _screening(systems, truth, settings)
    exposures = tuple(matches.exposures[name] for name in names)
    return Evaluation(metrics, tuple(names), exposures, (), systems[0], matches.left_out)


def _head(
    run: Run, settings: Settings, names: Sequence[str], truth: Sequence[str], systems: Sequence[System]
) -> dict[str, Any]:
    """The description of the comparison."""
    return {
        "format": EVALUATION_FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": installed_versions(),
        "run": str(run.path),
        "models": {
            "screen": None if run.config.screen is None else run.config.screen.name,
            "segment": None if run.config.segment is None else run.config.segment.name,
            "threshold": run.config.threshold,
        },
        "truth": {"annotators": list(truth), "consensus": settings.consensus},
        "systems": [system.name for system in systems],
        "bootstrap": {"n_resamples": settings.n_resamples, "level": LEVEL, "seed": settings.seed},
    }


def _artifact_sections(
    labellings: Mapping[str, AnyLabelling],
    truths: Sequence[Labelling],
    hits: Mapping[str, IntArray],
    pixels: Mapping[str, IntArray],
    settings: Settings,
) -> dict[str, Any]:
    """Metrics of artifacts: by CCD, by pixel, by instance, and the differences between systems."""
    rng = np.random.default_rng(settings.seed)
    n = settings.n_resamples
    drawn = {name: labelling for name, labelling in labellings.items() if isinstance(labelling, Labelling)}
    coco = {name: coco_results(truths, labelling) for name, labelling in drawn.items()}
    first = next(iter(labellings))
    return {
        "ccd": {
            "area_thresholds": list(AREA_THRESHOLDS),
            "groups": list(GROUPS),
            "systems": {name: ccd_section(one, rng, n) for name, one in hits.items()},
        },
        "pixels": {name: pixel_section(one, rng, n) for name, one in pixels.items()},
        "instances": {
            "overlaps": list(OVERLAPS),
            "coco": {name: coco_section(one, len(hits[first]), rng, n) for name, one in coco.items()},
            "paper": {name: paper_section(truths, labelling, rng, n) for name, labelling in drawn.items()},
            "matched": {name: match_section(truths, labelling, rng, n) for name, labelling in drawn.items()},
        },
        "differences": {
            name: difference_section(
                (hits[first], one),
                (pixels[first], pixels[name]) if name in pixels else None,
                (coco[first]["masks"], coco[name]["masks"]) if name in coco else None,
                rng,
                n,
            )
            for name, one in hits.items()
            if name != first
        },
    }


def _screening(systems: Sequence[System], ghosted: BoolArray, settings: Settings) -> dict[str, Any]:
    """Exposures as clean or ghosted, by system and by kind of answer."""
    rng = np.random.default_rng(settings.seed)
    return {
        "prevalence": settings.prevalence,
        "prevalence_of_the_set": round(float(np.mean(ghosted)), 6),
        "systems": {
            system.name: {
                kind: screening_section(
                    answer, ghosted, rng, prevalence=settings.prevalence, n_resamples=settings.n_resamples
                )
                for kind, answer in system.answers.items()
            }
            for system in systems
        },
    }


def _rivals(against: Sequence[Path | str], names: list[str]) -> tuple[list[Any], list[str], dict[str, tuple[str, ...]]]:
    """Open competitors; the images common to all of them, and those missing in one."""
    opened: list[Any] = []
    known = set(names)
    for place in against:
        if str(place).lower().endswith(".json"):
            annotations = read_annotations(place)
            opened.append(annotations)
            known &= set(annotations.images) - annotations.incomplete
        else:
            run = complete_run(place)
            matches = match_exposures(run.table("exposures"), names)
            opened.append((run, matches))
            known &= set(matches.exposures)
    missing = {"not in every competitor": tuple(name for name in names if name not in known)}
    return opened, [name for name in names if name in known], missing


def _rival_system(opened: Any, names: Sequence[str], cells: CcdCells) -> System:  # noqa: ANN401
    """A competitor over the compared images."""
    if isinstance(opened, tuple):
        run, matches = opened
        return run_system(_name(run.path), run, [matches.exposures[name] for name in names], cells)
    return annotator_system(opened, names, cells)


def _truths(annotators: Sequence[Labelling], consensus: str) -> list[Labelling]:
    """The annotators that define the truth."""
    if consensus == MAJORITY:
        return list(annotators)
    chosen = [labelling for labelling in annotators if labelling.name == consensus]
    if not chosen:
        known = ", ".join(labelling.name for labelling in annotators)
        msg = f"consensus: expected {MAJORITY} or an annotator ({known}), got {consensus!r}"
        raise ConfigError(msg)
    return chosen


def _ghosted(truths: Sequence[Labelling]) -> BoolArray:
    """(N,) bool: exposures on which more than half of the annotators drew something."""
    votes = np.stack([labelling.ghosted() for labelling in truths])
    ghosted: BoolArray = 2 * votes.sum(axis=0) > len(votes)
    return ghosted


def _check_names(systems: Sequence[System]) -> None:
    """Reject two systems of the same name, which tables could not distinguish."""
    names = [system.name for system in systems]
    for name in names:
        if names.count(name) > 1:
            msg = f"competitors: expected a name each, got {name!r} twice; rename a folder or a file"
            raise ConfigError(msg)


def _expnums(run: Run, exposures: Sequence[int]) -> list[int | None]:
    """Exposure numbers of some exposures of a run."""
    table = run.table("exposures")
    known = dict(zip(table["exposure"].to_pylist(), table["expnum"].to_pylist(), strict=True))
    return [known[exposure] for exposure in exposures]


def _name(path: Path | str) -> str:
    """The name of a run; on an object store its path is text."""
    return path.rstrip("/").rpartition("/")[-1] if isinstance(path, str) else path.resolve().name
