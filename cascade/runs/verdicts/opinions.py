"""Each reviewer's opinion of each exposure: their verdicts in order, without those undone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cascade.core.artifact import Artifact
from cascade.runs.verdicts.verdict_log import Corners, Verdict


@dataclass(frozen=True, slots=True)
class Drawn:
    """An artifact that a reviewer drew: its name in verdicts, its class, and its (x, y) corners in pixels."""

    name: str
    class_: Artifact
    polygon: Corners


@dataclass(frozen=True, slots=True)
class Opinion:
    """
    The opinion of one reviewer on one exposure.

    Attributes
    ----------
    reviewer
        Who.
    judgement
        ``accepted``: as the networks found it; ``rejected``: there is no artifact; ``corrected``: anything else.
    rejected
        All artifacts of the networks are false.
    deleted
        Names of artifacts of the networks that are false.
    classes
        Corrected classes of artifacts of the networks, by name.
    drawn
        Artifacts added by the reviewer.
    """

    reviewer: str
    judgement: str
    rejected: bool
    deleted: frozenset[str]
    classes: Mapping[str, Artifact]
    drawn: tuple[Drawn, ...]

    def keeps(self, name: str) -> bool:
        """Whether the reviewer confirms an artifact of the networks."""
        return not self.rejected and name not in self.deleted


def subject(row: Mapping[str, Any], artifacts: Iterable[Mapping[str, Any]]) -> str:
    """
    Identify the judged artifacts, so that verdicts do not apply to a run that was overwritten.

    Parameters
    ----------
    row : mapping
        The exposure's row of the exposures table.
    artifacts : iterable of mapping
        Its rows of the artifacts table.

    Returns
    -------
    str
        A hash of the input's name and of the artifacts.
    """
    content = [row["path"], row["expnum"], [[artifact["class"], artifact["rle"]] for artifact in artifacts]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def model_name(artifact: int) -> str:
    """What verdicts call an artifact that the networks found, by its number."""
    return f"m{artifact}"


def opinions(verdicts: Iterable[Verdict]) -> dict[int, dict[str, Opinion]]:
    """
    Sum up a log.

    A reject that stands hides all before it; an accept after it brings that back.

    Returns
    -------
    dict
        By exposure and reviewer; without those whose verdicts are all undone.
    """
    verdicts = list(verdicts)
    undone = {verdict.undoes for verdict in verdicts}
    standing: dict[int, dict[str, list[Verdict]]] = {}
    for verdict in verdicts:
        if verdict.action != "undo" and verdict.id not in undone:
            standing.setdefault(verdict.exposure, {}).setdefault(verdict.reviewer, []).append(verdict)
    found: dict[int, dict[str, Opinion]] = {}
    for exposure, by_reviewer in standing.items():
        for reviewer, all_said in by_reviewer.items():
            if said := _lasting(all_said):
                found.setdefault(exposure, {})[reviewer] = _opinion(reviewer, said)
    return found


def _lasting(said: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts less those on artifacts that the reviewer drew and deleted again, which say nothing."""
    gone = {verdict.artifact for verdict in said if verdict.action == "delete"}
    return [
        verdict
        for verdict in said
        if f"d{verdict.id}" not in gone and not (verdict.artifact in gone and str(verdict.artifact).startswith("d"))
    ]


def _opinion(reviewer: str, said: Sequence[Verdict]) -> Opinion:
    """The opinion of one reviewer on one exposure from the verdicts that stand, at least one."""
    last = {verdict.action: verdict.id for verdict in said}
    rejected_at = last.get("reject", 0)
    if last.get("accept", 0) > rejected_at:
        rejected_at = 0
    deleted = frozenset(verdict.artifact for verdict in said if verdict.action == "delete" and verdict.artifact)
    classes = {
        verdict.artifact: verdict.class_
        for verdict in said
        if verdict.artifact is not None and verdict.class_ is not None
    }
    drawn = tuple(
        Drawn(f"d{verdict.id}", classes.get(f"d{verdict.id}", verdict.class_), verdict.polygon)
        for verdict in said
        if verdict.class_ is not None and verdict.polygon is not None
        and verdict.id > rejected_at
    )  # fmt: skip
    of_model = {name for name in deleted | classes.keys() if not name.startswith("d")}
    if rejected_at and not drawn:
        judgement = "rejected"
    else:
        judgement = "corrected" if drawn or of_model or rejected_at else "accepted"
    return Opinion(reviewer, judgement, bool(rejected_at), deleted, classes, drawn)
