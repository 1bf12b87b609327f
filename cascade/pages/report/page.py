"""The page of a report: numbers are formatted here; templates hold the HTML and escape all data of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from cascade.core.errors import CascadeError
from cascade.core.templates import render
from cascade.networks.model_id import ModelId
from cascade.networks.models import find_model
from cascade.pages.report.charts import focal_plane_chart, histogram_chart, nights_chart, stages_chart
from cascade.pages.report.snapshot import RunSnapshot, causes, highest_share, per_night, score_histogram, vetoes_per_ccd

_N_CAUSES = 50
_MAX_REASON = 400  # characters displayed of a reason
_MAX_CARD_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class Assets:
    """
    Style sheets and scripts of the page.

    Attributes
    ----------
    styles, scripts
        Their URLs; if `inline`, their content, as `Markup`.
    policy
        The page's Content-Security-Policy.
    inline
        Whether the page embeds them.
    """

    styles: Sequence[str]
    scripts: Sequence[str]
    policy: str
    inline: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts and numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class Reviews:
    """Reviewers' verdicts on the run: a summary, and tables."""

    words: str
    tables: Sequence[Table] = ()


@dataclass(frozen=True, slots=True)
class Download:
    """A file to download."""

    name: str
    address: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class _SummaryCard:
    """A number in the summary."""

    name: str
    value: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class _ModelCard:
    """A network of the run; None for none. `card` is its model card, if available."""

    task: str
    id: ModelId | None
    card: str | None = None


def report_page(snapshot: RunSnapshot, assets: Assets, reviews: Reviews, downloads: Sequence[Download]) -> str:
    """
    Write the page.

    Parameters
    ----------
    snapshot : RunSnapshot
    assets : Assets
    reviews : Reviews
    downloads : sequence of Download
    """
    histogram = score_histogram(snapshot)
    nights = per_night(snapshot)
    found = causes(snapshot)
    seconds = _seconds(snapshot)
    return render(
        __package__,
        "report.html.jinja",
        assets=assets,
        title=f"Ghosts and scattered light: {snapshot.run.path}",
        subtitle=_subtitle(snapshot),
        cards=_cards(snapshot),
        nights=nights_chart(nights),
        highest_share=highest_share(nights),
        focal_plane=focal_plane_chart(snapshot.camera, vetoes_per_ccd(snapshot)),
        rule=snapshot.vetoes.rule,
        predicted=snapshot.predictions,
        scores=histogram_chart(histogram, snapshot.run.config.threshold) if histogram.sum() else None,
        n_without_score=snapshot.summary.counts.n_exposures - int(histogram.sum()),
        reviews=reviews,
        downloads=downloads,
        failures=Table(
            ("exposures", "stage", "reason", "for example"),
            [
                (cause.n, cause.stage, _cut(cause.reason), "; ".join(map(_cut, cause.examples)))
                for cause in found[:_N_CAUSES]
            ],
        ),
        n_more_failures=max(len(found) - _N_CAUSES, 0),
        ms_an_exposure=1000 * sum(seconds.values()) / max(snapshot.summary.counts.n_exposures, 1),
        exposures_per_s=_exposures_per_s(snapshot),
        stages=stages_chart(seconds) if seconds else None,
        models=_models(snapshot),
    )


def static_text(name: str) -> str:
    """A data file of this package."""
    return resources.files("cascade.pages.report").joinpath("static", name).read_text(encoding="utf-8")


def _subtitle(snapshot: RunSnapshot) -> str:
    """Instrument, status and version."""
    summary = snapshot.summary
    if summary.status == "complete":
        state = f"complete, finished {snapshot.header.get('finished', 'at an unknown time')}"
    else:
        state = f"incomplete: {summary.n_done} of {summary.n_batches} batches are in this report"
    version = (snapshot.header.get("versions") or {}).get("ghost-cascade")
    made_by = f"; ghost-cascade {version}" if version else ""
    return f"{snapshot.camera.instrument}; {state}{made_by}"


def _cards(snapshot: RunSnapshot) -> list[_SummaryCard]:
    """The summary."""
    counts = snapshot.summary.counts
    n = max(counts.n_exposures, 1)
    n_listed = len(snapshot.vetoes.table["expnum"].unique())
    return [
        _SummaryCard("exposures", f"{counts.n_exposures:,}"),
        _SummaryCard("flagged", f"{counts.n_flagged:,}", f"{counts.n_flagged / n:.1%} of all"),
        _SummaryCard("ghosted", f"{counts.n_ghosted:,}", f"{counts.n_ghosted / n:.1%} of all"),
        _SummaryCard("artifacts", f"{counts.n_artifacts:,}"),
        _SummaryCard("vetoed CCDs", f"{snapshot.vetoes.table.num_rows:,}", f"in {n_listed:,} exposures"),
        _SummaryCard("failed", f"{counts.n_failed:,}", "none" if not counts.n_failed else "reasons below"),
    ]


def _seconds(snapshot: RunSnapshot) -> dict[str, float]:
    """Seconds by stage."""
    return {str(stage): float(spent) for stage, spent in snapshot.summary.counts.seconds.items()}


def _exposures_per_s(snapshot: RunSnapshot) -> float | None:
    """Speed of the last call, if it is known."""
    speed = (snapshot.header.get("last_session") or {}).get("exposures_per_s")
    return speed if isinstance(speed, int | float) else None


def _models(snapshot: RunSnapshot) -> list[_ModelCard]:
    """The networks of the run, with their model cards where available."""
    config = snapshot.run.config
    return [
        _ModelCard(task, model, None if model is None else _model_card(model))
        for task, model in (("screen", config.screen), ("segment", config.segment))
    ]


def _model_card(model: ModelId) -> str | None:
    """The card of a model, if a shipped model has the same weights."""
    if not model.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        return None  # a name from run.json must not point outside the folder of models
    try:
        info = find_model(model.name)
        card = info.folder / "MODEL_CARD.md"
        if info.sha256 != model.sha256 or card.stat().st_size > _MAX_CARD_BYTES:
            return None
        return card.read_text(encoding="utf-8")
    except (CascadeError, OSError, ValueError):
        return None


def _cut(text: str) -> str:
    """The text, truncated to fit into a table."""
    return text if len(text) <= _MAX_REASON else text[:_MAX_REASON] + "…"
