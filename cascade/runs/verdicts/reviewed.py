"""The tables of a run, corrected by reviewers' verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import StoreError
from cascade.core.exposure import BoolArray, Instances, tight_boxes
from cascade.core.via import Region
from cascade.runs.classes import check_known
from cascade.runs.rows import finding_of, row_mask
from cascade.runs.run import Run
from cascade.runs.tables import SCHEMAS, STAR_COLUMNS, with_fractions
from cascade.runs.verdicts.opinions import Opinion, model_name, opinions, subject
from cascade.runs.verdicts.verdict_log import Verdict, read_verdicts

_SAME_IOU = 0.5
"""Minimum overlap at which two drawn artifacts are the same."""

Tables = Mapping[str, pa.Table]
Row = Mapping[str, Any]
Found = tuple[Artifact, BoolArray, Row]


@dataclass(frozen=True, slots=True)
class Judged:
    """
    The verdicts on one exposure, combined.

    Attributes
    ----------
    row
        Its row of the exposures table.
    artifacts
        The rows of the artifacts table that the networks wrote.
    opinions
        By reviewer.
    """

    row: Row
    artifacts: Sequence[Row]
    opinions: Mapping[str, Opinion]

    def votes(self, artifact: int) -> int:
        """Number of reviewers who confirm an artifact of the networks."""
        return sum(opinion.keeps(model_name(artifact)) for opinion in self.opinions.values())

    @property
    def disputed(self) -> bool:
        """Whether the reviewers are tied on one of its artifacts."""
        n = len(self.opinions)
        drawn = (len(drawers) for _, _, drawers in self._drawn())
        return n > 1 and any(2 * votes == n for votes in (*map(self.votes, range(len(self.artifacts))), *drawn))

    @property
    def standing(self) -> str:
        """``disputed``, or together ``accepted``, ``rejected`` (no artifact is left) or ``corrected``."""
        if self.disputed:
            return "disputed"
        found = self.found()
        classes = [Artifact.from_label(row["class"]) for row in self.artifacts]
        if not found and classes:
            return "rejected"
        same = len(found) == len(classes) and not any(True for _ in self._drawn())
        return "accepted" if same and [class_ for class_, *_ in found] == classes else "corrected"

    def found(self) -> list[Found]:
        """
        Artifacts as the reviewers see them together: class, (H, W) mask and the columns about its star.

        One counts if at least half of the reviewers see it, so that a CCD in doubt is vetoed; its class is the most
        frequent, that of the networks if it is among these.
        """
        least = len(self.opinions) / 2
        found: list[Found] = []
        for number, row in enumerate(self.artifacts):
            name, own = model_name(number), Artifact.from_label(row["class"])
            keepers = [opinion for opinion in self.opinions.values() if opinion.keeps(name)]
            if keepers and len(keepers) >= least:
                class_ = _majority([opinion.classes.get(name, own) for opinion in keepers], own)
                found.append((class_, row_mask(row), {field.name: row[field.name] for field in STAR_COLUMNS}))
        return found + [
            (_majority(classes, classes[0]), mask, {})
            for mask, classes, drawers in self._drawn()
            if len(drawers) >= least
        ]

    def _drawn(self) -> list[tuple[BoolArray, list[Artifact], set[str]]]:
        """Artifacts that reviewers drew: the first reviewer's mask, all classes, and the reviewers."""
        groups: list[tuple[BoolArray, list[Artifact], set[str]]] = []
        for opinion in self.opinions.values():
            for drawn in opinion.drawn:
                # Region has pixel centres at whole numbers.
                columns, rows = ([value - 0.5 for value in side] for side in zip(*drawn.polygon, strict=True))
                mask = Region(drawn.class_, "polygon", tuple(rows), tuple(columns)).mask()
                for other, classes, drawers in groups:
                    if opinion.reviewer not in drawers and _iou(mask, other) >= _SAME_IOU:
                        classes.append(drawn.class_)
                        drawers.add(opinion.reviewer)
                        break
                else:
                    groups.append((mask, [drawn.class_], {opinion.reviewer}))
        return groups


@dataclass(frozen=True, slots=True)
class Reviewed:
    """
    A run corrected by verdicts.

    Attributes
    ----------
    tables
        Like those of the run; artifacts that reviewers confirmed or drew have score 1.
    judged
        Reviewed exposures, by position.
    n_stale
        Exposures whose verdicts are ignored, because the run was overwritten since, or never had them.
    """

    tables: Tables
    judged: Mapping[int, Judged]
    n_stale: int

    @property
    def n_disputed(self) -> int:
        """Exposures on which as many reviewers are for an artifact as against it."""
        return sum(judged.disputed for judged in self.judged.values())


def judged_exposures(tables: Tables, verdicts: Iterable[Verdict]) -> tuple[dict[int, Judged], int]:
    """
    Match verdicts to the exposures and artifacts they are about.

    Returns
    -------
    tuple
        Reviewed exposures, by position; and how many were left out, see `Reviewed.n_stale`.
    """
    verdicts = list(verdicts)
    wanted = pa.array(sorted({verdict.exposure for verdict in verdicts}), pa.int64())
    exposures, artifacts = (
        tables[name].filter(pc.is_in(tables[name]["exposure"], value_set=wanted)) for name in ("exposures", "artifacts")
    )
    of_exposure: dict[int, list[Row]] = {}
    for row in artifacts.to_pylist():
        of_exposure.setdefault(row["exposure"], []).append(row)
    rows = {row["exposure"]: row for row in exposures.to_pylist()}
    current = {exposure: subject(row, of_exposure.get(exposure, [])) for exposure, row in rows.items()}
    valid = [verdict for verdict in verdicts if current.get(verdict.exposure) == verdict.subject]
    stale = {verdict.exposure for verdict in verdicts} - {verdict.exposure for verdict in valid}
    judged = {
        exposure: Judged(rows[exposure], of_exposure.get(exposure, []), by_reviewer)
        for exposure, by_reviewer in opinions(valid).items()
    }
    return judged, len(stale)


def standing(tables: Tables, verdicts: Iterable[Verdict]) -> dict[int, str]:
    """The combined verdict on the reviewed exposures, by position; see `Judged.standing`."""
    return {exposure: judged.standing for exposure, judged in judged_exposures(tables, verdicts)[0].items()}


def reviewed_tables(tables: Tables, verdicts: Iterable[Verdict], camera: Camera) -> Reviewed:
    """
    Correct the tables of a run by verdicts.

    Parameters
    ----------
    tables : mapping
        Those of a run, by name.
    verdicts : iterable of Verdict
        See `cascade.runs.verdicts.verdict_log.read_verdicts`.
    camera : Camera
        The run's.
    """
    judged, n_stale = judged_exposures(tables, verdicts)
    rows: dict[str, list[dict[str, Any]]] = {"exposures": [], "artifacts": [], "ccds": []}
    for exposure, one in judged.items():
        found = one.found()
        finding = finding_of(_instances(found), camera, [star for *_, star in found])
        key = {"exposure": exposure, "expnum": one.row["expnum"]}
        rows["artifacts"] += [key | artifact for artifact in finding.artifacts]
        rows["ccds"] += [key | ccd.columns() for ccd in finding.ccds]
        status = "ghosted" if finding.artifacts else "clean"
        n_artifacts = len(finding.artifacts)
        rows["exposures"].append(
            {**one.row, "status": status, "n_artifacts": n_artifacts, "artifact_area": finding.area}
        )
    positions = pa.array(judged, pa.int64())
    # People may have drawn artifacts of a class that the networks do not know.
    drawn = {artifact["class"] for artifact in rows["artifacts"]}
    tables = {**tables, "ccds": with_fractions(tables["ccds"], [a.label for a in Artifact if a.label in drawn])}
    corrected = dict(tables)
    for name, new in rows.items():
        others = tables[name].filter(pc.invert(pc.is_in(tables[name]["exposure"], value_set=positions)))
        merged = pa.concat_tables([others, pa.Table.from_pylist(new, tables[name].schema)])
        order = np.argsort(merged["exposure"].to_numpy(), kind="stable")
        corrected[name] = merged.take(pa.array(order))
    return Reviewed(corrected, judged, n_stale)


def reviewed_run(run: Run) -> Reviewed:
    """
    Read the tables of a run and correct them.

    Raises
    ------
    StoreError
        If there are no verdicts, the run has unknown classes, or it or its log is damaged.
    """
    verdicts = read_verdicts(run.storage)
    if not verdicts:
        msg = f"{run.path}: expected verdicts, got none; use cascade review"
        raise StoreError(msg)
    check_known(run.config.classes, run.path)
    tables = {name: run.table(name) for name in SCHEMAS}
    return reviewed_tables(tables, verdicts, Camera.load(run.config.camera))


def _instances(found: Sequence[Found]) -> Instances:
    """Artifacts with the score of reviewed ones."""
    if not found:
        return Instances.empty()
    masks = np.stack([mask for _, mask, _ in found])
    classes = np.array([class_ for class_, *_ in found], np.uint8)
    return Instances(classes, np.ones(len(found), np.float32), tight_boxes(masks), masks)


def _majority(classes: Sequence[Artifact], preferred: Artifact) -> Artifact:
    """The most frequent class; the preferred one, or else the first, of those that are as frequent."""
    counts = Counter(classes)
    most = max(counts.values())
    if counts[preferred] == most:
        return preferred
    return next(class_ for class_ in classes if counts[class_] == most)


def _iou(a: BoolArray, b: BoolArray) -> float:
    """Intersection over union."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0
