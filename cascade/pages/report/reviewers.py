"""Agreement of reviewers with the networks and with each other, for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from cascade.core.artifact import Artifact
from cascade.pages.report.page import Reviews, Table
from cascade.pages.report.snapshot import RunSnapshot
from cascade.runs.verdicts import Judged, Verdict, judged_exposures, model_name

_JUDGEMENTS = ("accepted", "corrected", "rejected")


@dataclass(frozen=True, slots=True)
class Pair:
    """
    Two reviewers.

    Attributes
    ----------
    first, second
        Who.
    n
        Exposures that both judged.
    same
        Share on which both say that there is an artifact, or both that there is none.
    kappa
        Cohen's kappa of that; None where both always give the same answer, so that chance agreement is full.
    """

    first: str
    second: str
    n: int
    same: float
    kappa: float | None


def pairs(judged: Iterable[Judged]) -> list[Pair]:
    """Compare each pair of reviewers on the exposures that both judged."""
    says: dict[str, dict[int, bool]] = {}
    for one in judged:
        for reviewer, opinion in one.opinions.items():
            kept = any(opinion.keeps(model_name(number)) for number in range(len(one.artifacts)))
            says.setdefault(reviewer, {})[one.row["exposure"]] = kept or bool(opinion.drawn)
    found = []
    for first, second in combinations(sorted(says), 2):
        both = says[first].keys() & says[second].keys()
        if both:
            answers = [(says[first][exposure], says[second][exposure]) for exposure in sorted(both)]
            same = sum(a == b for a, b in answers) / len(answers)
            found.append(Pair(first, second, len(answers), same, cohens_kappa(answers)))
    return found


def cohens_kappa(answers: Sequence[tuple[bool, bool]]) -> float | None:
    """Agreement beyond chance of two people on N questions (Cohen 1960); None if chance alone gives full agreement."""
    n = len(answers)
    same = sum(a == b for a, b in answers) / n
    yes = [sum(one) / n for one in zip(*answers, strict=True)]
    chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    return None if chance == 1 else (same - chance) / (1 - chance)


def summarise_reviews(snapshot: RunSnapshot, verdicts: Sequence[Verdict]) -> Reviews:
    """Summary and tables about reviewers and networks."""
    judged, n_stale = judged_exposures(snapshot.tables, verdicts)
    remark = f" The verdicts on {n_stale} exposures are ignored: the run was overwritten since." if n_stale else ""
    if not judged:
        return Reviews(f"No exposure was reviewed yet; use cascade review.{remark}")
    n_disputed = sum(one.disputed for one in judged.values())
    n_flagged = int(snapshot.flagged.sum())
    words = (
        f"{len(judged):,} exposures were reviewed, of {n_flagged:,} flagged; on {n_disputed} of them "
        f"reviewers are tied on an artifact.{remark}"
    )
    header = ("reviewer", "judged", *_JUDGEMENTS, "artifacts confirmed", "drawn")
    tables = [Table(header, _reviewer_rows(judged))]
    classes = ("class", "found and reviewed", "confirmed", "reclassified", "deleted", "drawn by reviewers")
    tables.append(Table(classes, _class_rows(judged)))
    if found := pairs(judged.values()):
        rows = [(p.first, p.second, p.n, f"{p.same:.0%}", "–" if p.kappa is None else f"{p.kappa:.2f}") for p in found]
        tables.append(Table(("reviewer", "and", "both reviewed", "agreement", "Cohen's kappa"), rows))
    return Reviews(words, tables)


def _reviewer_rows(judged: Mapping[int, Judged]) -> list[tuple[object, ...]]:
    """Numbers of verdicts, by reviewer."""
    rows: list[tuple[object, ...]] = []
    for reviewer in sorted({name for one in judged.values() for name in one.opinions}):
        theirs = [(one, one.opinions[reviewer]) for one in judged.values() if reviewer in one.opinions]
        counts = Counter(opinion.judgement for _, opinion in theirs)
        kept = [opinion.keeps(model_name(k)) for one, opinion in theirs for k in range(len(one.artifacts))]
        share = f"{sum(kept)} of {len(kept)}"
        drawn = sum(len(opinion.drawn) for _, opinion in theirs)
        rows.append((reviewer, len(theirs), *(counts[word] for word in _JUDGEMENTS), share, drawn))
    return rows


def _class_rows(judged: Mapping[int, Judged]) -> list[tuple[object, ...]]:
    """Verdicts on the artifacts of each class; each reviewer counts once per artifact."""
    counts: dict[Artifact, Counter[str]] = {class_: Counter() for class_ in Artifact}
    for one in judged.values():
        for opinion in one.opinions.values():
            for number, row in enumerate(one.artifacts):
                own = Artifact.from_label(row["class"])
                kept = opinion.keeps(model_name(number))
                other = opinion.classes.get(model_name(number), own) != own
                counts[own]["other" if kept and other else "kept" if kept else "none"] += 1
            for drawn in opinion.drawn:
                counts[drawn.class_]["drawn"] += 1
    return [
        (class_.label, sum(n[word] for word in ("kept", "other", "none")), n["kept"], n["other"], n["none"], n["drawn"])
        for class_, n in counts.items()
    ]
