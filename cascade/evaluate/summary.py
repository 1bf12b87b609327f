"""Summary pages: sections of text, a table and figures, as Markdown and as HTML; all input text is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from cascade.core.templates import render
from cascade.evaluate.learned import learned_words

Row = tuple[str, ...]

_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!$~])")


@dataclass(frozen=True, slots=True)
class Section:
    """
    A part of a page.

    Attributes
    ----------
    title, text
        Plain text, not markup.
    header, rows
        A table; an empty header for none.
    figures
        Names in the folder ``figures``, without ending.
    """

    title: str
    text: str = ""
    header: Row = ()
    rows: Sequence[Row] = ()
    figures: Sequence[str] = ()


def markdown(title: str, sections: Sequence[Section]) -> str:
    """A Markdown page."""
    lines = [f"# {_escaped(title)}", ""]
    for section in sections:
        lines += [f"## {_escaped(section.title)}", ""]
        if section.text:
            lines += [_escaped(section.text), ""]
        if section.header:
            lines += [_markdown_row(section.header), "|" + "---|" * len(section.header)]
            lines += [*map(_markdown_row, section.rows), ""]
        for name in section.figures:
            lines += [f"![{name}](figures/{name}.png)", ""]
    return "\n".join(lines)


def page(title: str, sections: Sequence[Section]) -> str:
    """An HTML page that loads only the figures beside it."""
    return render(__package__, "summary.html.jinja", title=title, sections=sections)


def evaluation_sections(metrics: Mapping[str, Any], figures: Sequence[str]) -> list[Section]:
    """
    The summary of an evaluation.

    Parameters
    ----------
    metrics : mapping
        See ``docs/metrics.md``.
    figures : sequence of str
        Names of the figures drawn.
    """
    sections = [_what(metrics)]
    if metrics["ccd"] is not None:
        sections += [_ccds(metrics, "paper", figures), _ccds(metrics, "footprint", figures)]
        sections += [_coco(metrics, figures), _paper(metrics, figures), _matched(metrics), _pixels(metrics, figures)]
    sections.append(_exposures(metrics, figures))
    if metrics["differences"]:
        sections.append(_differences(metrics, figures))
    if "overlays" in figures:
        sections.append(Section("Masks", "Truth beside prediction.", figures=["overlays"]))
    return sections


def agreement_sections(metrics: Mapping[str, Any], figures: Sequence[str]) -> list[Section]:
    """The summary of inter-annotator agreement."""
    people = short_names(metrics["annotators"])
    text = (
        f"{metrics['exposures']['n']} images, {len(people)} annotators ({', '.join(people)}). "
        f"{_left_out(metrics['exposures'])}"
    )
    titles = {
        "ccd_f1": "CCD F1 (the paper's boxes, t = 0)",
        "pixel_iou": "Pixel IoU",
        "instance_f1": "Instance F1 at IoU 0.5",
    }
    sections = [Section("What was compared", text)]
    for what, title in titles.items():
        rows = [
            (group, shown(found["median"]), *(shown(one) for one in found["each"]),
             shown(metrics["pairs"][what][group]["median"]))
            for group, found in metrics["leave_one_out"][what].items()
        ]  # fmt: skip
        header = ("", "median", *people, "median of pairs")
        explained = (
            "Each annotator against each of the others, pooled."
            if what == "instance_f1"
            else "Each annotator against the majority of the others."
        )
        sections.append(Section(title, explained, header, rows, [name for name in figures if name.startswith(what)]))
    rest = [name for name in figures if not name.startswith(tuple(titles))]
    return [*sections, Section("Votes", "Share of the annotators who marked a pixel.", figures=rest)]


def short_names(names: Sequence[str]) -> list[str]:
    """File names without their common prefix: ``AlexC`` of ``common_core_AlexC``."""
    if len(names) < 2:
        return list(names)
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(names), max(names), strict=False))
    start = "".join(letter for letter, _ in alike).rfind("_") + 1
    return [name[start:] or name for name in names]


def shown(found: Any) -> str:  # noqa: ANN401
    """A figure, with its interval if it has one; a dash where undefined."""
    if not isinstance(found, Mapping):
        return "–" if found is None else f"{found:.3f}"
    if found["value"] is None:
        return "–"
    if found["low"] is None or found["high"] is None:
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _what(metrics: Mapping[str, Any]) -> Section:
    """What was compared."""
    exposures, truth, bootstrap = metrics["exposures"], metrics["truth"], metrics["bootstrap"]
    models = ", ".join(metrics["models"][stage] or "none" for stage in ("screen", "segment"))
    people = ", ".join(short_names(truth["annotators"]))
    consensus = "" if len(truth["annotators"]) == 1 else f", consensus: {truth['consensus']}"
    text = (
        f"Models of the run: {models}. "
        f"{exposures['n']} exposures, {exposures['n_ghosted']} of them ghosted. Truth: {people}{consensus}. "
        f"{f'{words} ' if (words := learned_words(metrics)) else ''}"
        f"Intervals: {bootstrap['level']:.0%} over {bootstrap['n_resamples']} resamples of the exposures. "
        f"{_left_out(exposures)}"
    )
    return Section("What was compared", text)


def _left_out(exposures: Mapping[str, Any]) -> str:
    """What was left out, and problems of the annotations."""
    left_out = [f"{n} {reason}" for reason, n in exposures["left_out"].items() if n]
    problems = [f"{n} {kind}" for kind, n in exposures["problems"].items()]
    words = f"Left out: {'; '.join(left_out)}. " if left_out else "Nothing was left out. "
    return words + (f"Problems of the annotations: {'; '.join(problems)} (problems.csv)." if problems else "")


def _ccds(metrics: Mapping[str, Any], geometry: str, figures: Sequence[str]) -> Section:
    """CCD metrics at 0 and 5 %."""
    ccd = metrics["ccd"]
    rows = []
    for group in ccd["groups"]:
        for t in (0, 1):
            at = f"{100 * ccd['area_thresholds'][t]:.0f} %"
            for name, by_geometry in ccd["systems"].items():
                found = by_geometry[geometry][group]
                one = [shown({key: found[m][key][t] for key in found[m]}) for m in ("precision", "recall", "f1")]
                rows.append((group, at, name, *one, shown(found["f1_per_exposure"][t])))
            if metrics["human"]:
                human = metrics["human"]["ccd"][geometry][group]
                rows.append((group, at, "people", *(shown(human[m][t]) for m in ("precision", "recall", "f1")), "–"))
    title = {"paper": "CCDs, the paper's boxes", "footprint": "CCDs, true footprints without dead CCDs"}[geometry]
    header = ("classes", "area", "", "precision", "recall", "F1", "F1 per exposure")
    return Section(title, "", header, rows, [name for name in figures if name == f"ccd_{geometry}"])


def _coco(metrics: Mapping[str, Any], figures: Sequence[str]) -> Section:
    """COCO's average precision."""
    rows = [
        (kind, name, class_, *(shown(one) for one in by_figure.values()))
        for name, found in metrics["instances"]["coco"].items()
        for kind in ("masks", "boxes")
        for class_, by_figure in found[kind].items()
    ]
    header = ("", "", "class", "AP", "AP50", "AP75", "AP small", "AP medium", "AP large")
    text = "By pycocotools, pooled over exposures; areas as COCO has them (under 32 x 32 px, up to 96 x 96 px, beyond)."
    chosen = [name for name in figures if name.startswith("precision_recall_coco")]
    return Section("Artifacts, as COCO measures", text, header, rows, chosen)


def _paper(metrics: Mapping[str, Any], figures: Sequence[str]) -> Section:
    """The paper's average precision."""
    instances = metrics["instances"]
    rows: list[Row] = []
    text = "Mean over exposures of their average precision; 0 where neither side has the class. "
    for name, found in instances["paper"].items():
        groups = [group for group in found if group not in ("precision_recall", "mrcnn")]
        for key, label in (("ap", ""), ("ap_where_present", ", where the truth has it")):
            rows += [(name, group + label, *_over(found[group][key])) for group in groups]
        theirs = found["mrcnn"] or {}
        rows += [(name, f"{group}, mrcnn 0.2", *map(shown, values)) for group, values in theirs.items()]
    if any(found["mrcnn"] is None for found in instances["paper"].values()):
        text += "The package mrcnn is not installed (extra: mrcnn), so its own compute_ap was not called."
    else:
        text += "compute_ap of mrcnn 0.2 can count the artifact that the best prediction found a second time."
    header = ("", "class", *(f"IoU {overlap:.2f}" for overlap in instances["overlaps"]))
    chosen = [name for name in figures if name == "precision_recall_paper"]
    return Section("Artifacts, as the paper measures", text, header, rows, chosen)


def _matched(metrics: Mapping[str, Any]) -> Section:
    """F1 of artifacts matched one to one."""
    instances = metrics["instances"]
    rows = [
        (name, group, *_over(figures["f1"]))
        for name, found in instances["matched"].items()
        for group, figures in found.items()
    ]
    if metrics["human"]:
        people = metrics["human"]["instances"]
        rows += [("people, in pairs", group, *map(shown, figures["f1"])) for group, figures in people.items()]
    header = ("", "class", *(f"IoU {overlap:.2f}" for overlap in instances["overlaps"]))
    return Section("Artifacts matched one to one, F1", "All artifacts of the run, whatever their score.", header, rows)


def _over(found: Mapping[str, Any]) -> list[str]:
    """A figure at each overlap."""
    return [shown({key: found[key][k] for key in found}) for k in range(len(found["value"]))]


def _pixels(metrics: Mapping[str, Any], figures: Sequence[str]) -> Section:
    """Pixel IoU."""
    groups = metrics["ccd"]["groups"]
    rows = [(name, *(shown(found[group]) for group in groups)) for name, found in metrics["pixels"].items()]
    if metrics["human"]:
        rows.append(("people", *(shown(metrics["human"]["pixels"][group]) for group in groups)))
    return Section("Pixel IoU", "", ("", *groups), rows, [name for name in figures if name == "pixel_iou"])


def _exposures(metrics: Mapping[str, Any], figures: Sequence[str]) -> Section:
    """Exposures as clean or ghosted."""
    screening = metrics["screening"]
    rows = []
    for name, by_kind in screening["systems"].items():
        for kind, found in by_kind.items():
            counts = found["confusion"]
            numbers = tuple(str(n) for n in counts.values())
            keys = ("accuracy", "recall", "false_alarm_rate", "precision", "precision_at_prevalence", "roc_auc")
            rows.append((f"{name}: {kind}", *numbers, *(shown(found[key]) for key in keys)))
    header = (
        "", "clean kept", "clean flagged", "ghosts missed", "ghosts found", "accuracy", "recall", "false-alarm rate",
        "precision", f"precision at {screening['prevalence']:.0%} ghosted", "ROC AUC",
    )  # fmt: skip
    wanted = ("confusion", "roc", "reliability")
    return Section("Exposures, clean or ghosted", "", header, rows, [name for name in figures if name in wanted])


def _differences(metrics: Mapping[str, Any], figures: Sequence[str]) -> Section:
    """Differences between the run and each competitor."""
    first = metrics["systems"][0]
    rows = []
    for name, found in metrics["differences"].items():
        for threshold, by_group in found["ccd_f1"]["paper"].items():
            rows += [
                (name, f"CCD F1 {group}, t = {float(threshold):.0%}", shown_difference(one))
                for group, one in by_group.items()
            ]
        rows += [
            (name, f"pixel IoU {group}", shown_difference(one)) for group, one in (found["pixel_iou"] or {}).items()
        ]
        rows += [
            (name, f"COCO AP50 {class_}", shown_difference(one["AP50"]))
            for class_, one in (found["coco"] or {}).items()
        ]
    text = f"{first} less the other, on the same exposures."
    return Section("Differences", text, ("than", "", first), rows, [name for name in figures if name == "differences"])


def shown_difference(found: Mapping[str, float | None]) -> str:
    """``better by 0.030 [0.010, 0.050]``; a dash where undefined."""
    value, low, high = found["value"], found["low"], found["high"]
    if value is None or low is None or high is None:
        return "–"
    if value < 0:
        return f"worse by {-value:.3f} [{-high:.3f}, {-low:.3f}]"
    return f"better by {value:.3f} [{low:.3f}, {high:.3f}]"


def _markdown_row(cells: Row) -> str:
    """One row of a table."""
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(text.split()))
