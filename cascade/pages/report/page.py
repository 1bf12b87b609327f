"""The page of a report: numbers become words, everything that comes from a run is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template
from typing import Any

from cascade.core.errors import CascadeError
from cascade.networks.model_id import ModelId
from cascade.networks.models import find_model
from cascade.pages.report.charts import focal_plane_chart, histogram_chart, nights_chart, stages_chart
from cascade.pages.report.snapshot import RunSnapshot, causes, highest_share, per_night, score_histogram, vetoes_per_ccd

_N_CAUSES = 50
_MAX_REASON = 400  # characters of a reason that are shown
_MAX_CARD_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class Assets:
    """
    Markup that brings styles and scripts into the page.

    Attributes
    ----------
    styles, scripts
        Elements.
    policy
        What the page may load: its Content-Security-Policy.
    """

    styles: str
    scripts: str
    policy: str


def report_page(snapshot: RunSnapshot, assets: Assets, sections: Iterable[str]) -> str:
    """
    Write the page.

    Parameters
    ----------
    snapshot : RunSnapshot
    assets : Assets
    sections : iterable of str
        HTML of further sections: agreement, downloads.
    """
    template = Template(static_text("report.html"))
    threshold = snapshot.run.config.threshold
    title = f"Ghosts and scattered light: {snapshot.run.path}"
    histogram = score_histogram(snapshot)
    nights = per_night(snapshot)
    if histogram.sum():
        n_without = snapshot.summary.counts.n_exposures - int(histogram.sum())
        words = "Exposures by score; those right of the threshold were flagged."
        words += f" {n_without:,} exposures have no score." if n_without else ""
    else:
        words = "There was no screen: every exposure went to the segmenter."
    return template.substitute(
        policy=assets.policy,
        styles=assets.styles,
        scripts=assets.scripts,
        title=escape(title),
        subtitle=escape(_subtitle(snapshot)),
        cards="".join(_cards(snapshot)),
        nights=nights_chart(nights),
        nights_words=escape(
            f"Share of the exposures that went to the segmenter, up to {highest_share(nights):.1%}; each bar tells its "
            "numbers to the pointer, and nights.csv has all."
        ),
        focal_plane=focal_plane_chart(snapshot.camera, vetoes_per_ccd(snapshot)),
        rule=escape(str(snapshot.vetoes.rule)),
        histogram=histogram_chart(histogram, threshold) if histogram.sum() else "",
        histogram_words=escape(words),
        sections="\n".join([*sections, _failures(snapshot), _timings(snapshot), _models(snapshot)]),
    )


def static_text(name: str) -> str:
    """A file that is shipped beside this module."""
    return resources.files("cascade.pages.report").joinpath("static", name).read_text(encoding="utf-8")


def section(title: str, *parts: str) -> str:
    """A section; `parts` are HTML."""
    return f'<section class="card"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of texts."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def paragraph(text: str) -> str:
    """A paragraph of text."""
    return f"<p>{escape(text)}</p>"


def _subtitle(snapshot: RunSnapshot) -> str:
    """When, and how far."""
    summary = snapshot.summary
    if summary.status == "complete":
        state = f"complete, finished {snapshot.header.get('finished', 'at an unknown time')}"
    else:
        state = f"not complete: {summary.n_done} of {summary.n_batches} batches are in this report"
    version = (snapshot.header.get("versions") or {}).get("ghost-cascade")
    made_by = f"; ghost-cascade {version}" if version else ""
    return f"{snapshot.camera.instrument}; {state}{made_by}"


def _cards(snapshot: RunSnapshot) -> Iterable[str]:
    """The summary."""
    counts = snapshot.summary.counts
    n = max(counts.n_exposures, 1)
    n_listed = len(snapshot.vetoes.table["expnum"].unique())
    cards = (
        ("exposures", f"{counts.n_exposures:,}", ""),
        ("flagged", f"{counts.n_flagged:,}", f"{counts.n_flagged / n:.1%} of all"),
        ("ghosted", f"{counts.n_ghosted:,}", f"{counts.n_ghosted / n:.1%} of all"),
        ("artifacts", f"{counts.n_artifacts:,}", ""),
        ("vetoed CCDs", f"{snapshot.vetoes.table.num_rows:,}", f"in {n_listed:,} exposures"),
        ("failed", f"{counts.n_failed:,}", "none" if not counts.n_failed else "reasons below"),
    )
    for name, value, small in cards:
        shown = f"<dd>{escape(value)}<small>{escape(small)}</small></dd>"
        yield f'<div class="card"><dl><dt>{escape(name)}</dt>{shown}</dl></div>'


def _failures(snapshot: RunSnapshot) -> str:
    """What could not be processed, and why."""
    found = causes(snapshot)
    if not found:
        return section("Failures", paragraph("Every exposure could be processed."))
    rows = [
        (cause.n, cause.stage, _cut(cause.reason), "; ".join(map(_cut, cause.examples))) for cause in found[:_N_CAUSES]
    ]
    rest = len(found) - _N_CAUSES
    more = paragraph(f"And {rest} other reasons; all are in the failures table.") if rest > 0 else ""
    return section("Failures", table(("exposures", "stage", "reason", "for example"), rows), more)


def _timings(snapshot: RunSnapshot) -> str:
    """Where the time went."""
    seconds = {str(stage): float(spent) for stage, spent in snapshot.summary.counts.seconds.items()}
    n = max(snapshot.summary.counts.n_exposures, 1)
    session: Mapping[str, Any] = snapshot.header.get("last_session") or {}
    words = f"{1000 * sum(seconds.values()) / n:.1f} ms an exposure, summed over workers."
    if isinstance(speed := session.get("exposures_per_s"), int | float):
        words += f" The last call processed {speed:.1f} exposures a second."
    return section("Timings", paragraph(words), stages_chart(seconds) if seconds else "")


def _models(snapshot: RunSnapshot) -> str:
    """Which networks made it, with their cards where they are at hand."""
    parts = []
    for task in ("screen", "segment"):
        model: ModelId | None = getattr(snapshot.run.config, task)
        if model is None:
            parts.append(paragraph(f"{task}: none"))
            continue
        parts.append(paragraph(f"{task}: {model.name}, sha256 {model.sha256}"))
        card = _model_card(model)
        if card is not None:
            parts.append(f"<details><summary>Card of {escape(model.name)}</summary><pre>{escape(card)}</pre></details>")
    return section("Models", *parts)


def _model_card(model: ModelId) -> str | None:
    """The card of a model, if the very weights of the run are in the zoo."""
    if not model.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        return None  # a name that run.json gives must not lead anywhere else
    try:
        info = find_model(model.name)
        card = info.folder / "MODEL_CARD.md"
        if info.sha256 != model.sha256 or card.stat().st_size > _MAX_CARD_BYTES:
            return None
        return card.read_text(encoding="utf-8")
    except (CascadeError, OSError, ValueError):
        return None


def _cut(text: str) -> str:
    """A text that a table can bear."""
    return text if len(text) <= _MAX_REASON else text[:_MAX_REASON] + "…"
