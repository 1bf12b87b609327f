"""Figures of an evaluation, drawn from its `metrics.json` only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cascade.evaluate.ccd import SINGLE_CLASSES
from cascade.evaluate.sections import CLASSES

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
"""One per system, from the colour-blind-safe palette of Okabe and Ito."""

_DASHES: tuple[Any, ...] = ("-", ":", "-.", (0, (8, 2)))  # of the first seven, the next seven, …; people have "--"

_HUMAN: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 1.2}
_DPI = 150
_TITLES = {"precision": "precision", "recall": "recall", "f1": "F1"}
_CONVENTIONS = {
    "coco_masks": "by least overlap of masks\nCOCO: pooled over exposures; All: mean of the classes",
    "coco_boxes": "by least overlap of boxes\nCOCO: pooled over exposures; All: mean of the classes",
    "paper": "by least overlap of masks\nas in the paper: one curve per exposure, averaged over those with the class",
}
_GEOMETRY = {"paper": "the paper's boxes", "footprint": "true footprints, dead CCDs left out"}


def draw_figures(metrics: Mapping[str, Any], folder: Path) -> list[str]:
    """
    Draw all figures that the metrics hold, as PNG and PDF.

    Parameters
    ----------
    metrics : mapping
        Of an evaluation; see ``docs/metrics.md``.
    folder : Path
        Output folder.

    Returns
    -------
    list of str
        Names without ending, in the order of a reader.
    """
    names = []
    for name, drawing in _figures(metrics):
        save(drawing, folder / name)
        names.append(name)
    return names


def save(figure: Figure, stem: Path) -> None:
    """Write a figure as PNG and PDF."""
    FigureCanvasAgg(figure)
    figure.savefig(stem.with_name(f"{stem.name}.png"), dpi=_DPI)
    figure.set_layout_engine("none")  # keep the layout
    figure.savefig(stem.with_name(f"{stem.name}.pdf"))


def plain(text: str) -> str:
    """A name as a literal label: dollars escaped, no leading underscore, which matplotlib hides."""
    return text.replace("$", r"\$") if not text.startswith("_") else f" {text}".replace("$", r"\$")


def _figures(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Every figure with its name."""
    if metrics["ccd"] is not None:
        for geometry in _GEOMETRY:
            yield f"ccd_{geometry}", _ccd_curves(metrics, geometry)
        for kind in ("coco_masks", "coco_boxes", "paper"):
            yield f"precision_recall_{kind}", _precision_recall(metrics, kind)
        yield "pixel_iou", _pixel_iou(metrics)
    yield "confusion", _confusion(metrics)
    scored = [answer for _, answer in _answers(metrics) if answer["curve"] is not None]
    if scored:
        yield "roc", _roc(metrics)
    if any(answer["reliability"] is not None for _, answer in _answers(metrics)):
        yield "reliability", _reliability(metrics)
    if metrics["differences"]:
        yield "differences", _differences(metrics)


def _figure(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    return Figure(figsize=(width, height), layout="constrained")


def _line(k: int) -> dict[str, Any]:
    """Style of the k-th curve."""
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": _DASHES[k // len(COLOURS) % len(_DASHES)]}


def _colours(metrics: Mapping[str, Any]) -> dict[str, str]:
    """A colour for each system."""
    return {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(metrics["systems"])}


def _legend(figure: Figure, metrics: Mapping[str, Any], *, human: bool) -> None:
    """Names of systems, and of the human line, below a figure."""
    handles = [Line2D([], [], **_line(k), label=plain(name)) for k, name in enumerate(metrics["systems"])]
    if human:
        n = metrics["human"]["n_annotators"]
        handles.append(Line2D([], [], **_HUMAN, label=f"people: median of {n}, each against the others"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), frameon=False, fontsize=9)


def _array(values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:  # noqa: ANN401
    """Numbers with NaN for null."""
    return np.array(values, dtype=float)


def _ccd_curves(metrics: Mapping[str, Any], geometry: str) -> Figure:
    """Precision, recall and F1 over the area threshold, one column per group: the paper's figure."""
    ccd, human, colours = metrics["ccd"], metrics["human"], _colours(metrics)
    percent = 100 * _array(ccd["area_thresholds"])
    figure = _figure(2.6 * len(ccd["groups"]), 7.0)
    axes = figure.subplots(len(_TITLES), len(ccd["groups"]), sharex=True, sharey=True)
    for column, group in enumerate(ccd["groups"]):
        for row, (metric, title) in enumerate(_TITLES.items()):
            axis = axes[row, column]
            for k, (name, by_geometry) in enumerate(ccd["systems"].items()):
                found = {key: _array(value) for key, value in by_geometry[geometry][group][metric].items()}
                axis.fill_between(percent, found["low"], found["high"], color=colours[name], alpha=0.15, linewidth=0)
                axis.plot(percent, found["value"], **_line(k))
            if human:
                axis.plot(percent, _array(human["ccd"][geometry][group][metric]), **_HUMAN)
            axis.grid(alpha=0.3)
            axis.set_ylim(0, 1.02)
            axis.set_xlim(0, 90)
            if column == 0:
                axis.set_ylabel(f"CCD {title}")
            if row == 0:
                axis.set_title(group, fontsize=11)
    for axis in axes[-1]:
        axis.set_xlabel("area threshold (% of a CCD)")
    figure.suptitle(f"Affected CCDs, {_GEOMETRY[geometry]}; bands: 95 % over exposures", fontsize=11)
    _legend(figure, metrics, human=bool(human))
    return figure


def _precision_recall(metrics: Mapping[str, Any], kind: str) -> Figure:
    """Precision-recall curves of the run at each overlap: the paper's four panels, and one for any other class."""
    instances, name = metrics["instances"], metrics["systems"][0]
    if kind == "paper":
        found = instances["paper"][name]["precision_recall"]
    else:
        found = instances["coco"][name]["precision_recall"][kind.removeprefix("coco_")]
    people = metrics["human"] and metrics["human"]["boxes" if kind == "coco_boxes" else "instances"]
    panels = ("All", *(artifact.title for artifact in SINGLE_CLASSES))
    n_rows = -(-len(panels) // 2)
    figure = _figure(8.4, 4.1 * n_rows)
    axes = figure.subplots(n_rows, 2, sharex=True, sharey=True)
    for axis in axes.ravel()[len(panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes.ravel(), panels, strict=False):
        for k, overlap in enumerate(instances["overlaps"]):
            curve, colour = _array(found[panel][k]), COLOURS[k % len(COLOURS)]
            ap = float(np.mean(curve)) if kind != "paper" else _present_ap(instances, name, panel, k)
            label = f"IoU {overlap:.1f}: AP " + (f"{ap:.2f}" if np.isfinite(ap) else "–")
            axis.plot(_array(found["recall"]), curve, color=colour, label=label)
            if people and panel in people:
                star = people[panel]
                axis.plot(star["recall"][k], star["precision"][k], "*", color=colour, markersize=11,
                          markeredgecolor="black", markeredgewidth=0.5, clip_on=False)  # fmt: skip
        axis.set_title(panel, fontsize=11)
        axis.grid(alpha=0.3)
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.02)
        axis.legend(fontsize=8, loc="best", framealpha=0.8)
    for axis in axes[-1]:
        axis.set_xlabel("recall")
    for axis in axes[:, 0]:
        axis.set_ylabel("precision")
    stars = "; stars: one person against another" if people else ""
    figure.suptitle(f"Artifacts of {plain(name)}, {_CONVENTIONS[kind]}{stars}", fontsize=10)
    return figure


def _present_ap(instances: Mapping[str, Any], name: str, panel: str, k: int) -> float:
    """The paper's average precision where the truth has the class; NaN if undefined."""
    return _one(instances["paper"][name][panel]["ap_where_present"]["value"][k])


def _pixel_iou(metrics: Mapping[str, Any]) -> Figure:
    """Bars of the pixel IoU by group, with that of the annotators."""
    groups, colours = metrics["ccd"]["groups"], _colours(metrics)
    figure = _figure(7.5, 4.0)
    axis = figure.subplots()
    width = 0.8 / max(len(metrics["pixels"]), 1)
    for k, (name, by_group) in enumerate(metrics["pixels"].items()):
        at = np.arange(len(groups)) + (k - (len(metrics["pixels"]) - 1) / 2) * width
        value, low, high = (_array([by_group[group][key] for group in groups]) for key in ("value", "low", "high"))
        spread = np.clip(np.stack([value - low, high - value]), 0, None)
        axis.bar(at, value, 0.9 * width, color=colours[name], yerr=spread, capsize=3, error_kw={"linewidth": 0.9})
    if metrics["human"]:
        for k, group in enumerate(groups):
            axis.hlines(_array(metrics["human"]["pixels"][group]), k - 0.45, k + 0.45, **_HUMAN)
    axis.set_xticks(np.arange(len(groups)), groups)
    axis.set_ylim(0, 1)
    axis.set_ylabel("pixel IoU (95 % over exposures)")
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    _legend(figure, metrics, human=bool(metrics["human"]))
    return figure


def _answers(metrics: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every answer that classifies exposures as clean or ghosted."""
    return [
        (f"{name}: {kind}", answer)
        for name, by_kind in metrics["screening"]["systems"].items()
        for kind, answer in by_kind.items()
    ]


def _confusion(metrics: Mapping[str, Any]) -> Figure:
    """One matrix per answer: numbers of exposures, and shares of the true kind."""
    answers = _answers(metrics)
    columns = min(len(answers), 4)
    rows = -(-len(answers) // columns)
    figure = _figure(3.0 * columns + 0.6, 3.3 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (name, answer) in zip(axes, answers, strict=False):
        counts = answer["confusion"]
        matrix = np.array(
            [[counts["clean_kept"], counts["clean_flagged"]], [counts["ghosts_missed"], counts["ghosts_found"]]]
        )
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axis.set_axis_on()
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")  # the layout cuts labels of square axes
        for (row, column), n in np.ndenumerate(matrix):
            known = matrix[row].sum() > 0
            axis.text(column, row, f"{n}\n({shares[row, column]:.1%})" if known else "none in\nthe truth",
                      ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black")  # fmt: skip
        axis.set_xticks([0, 1], ["clean", "ghosted"])
        axis.set_yticks([0, 1], ["clean", "ghosted"], rotation=90, va="center")
        axis.set_xlabel("answer")
        axis.set_ylabel("truth")
        accuracy = answer["accuracy"]["value"]
        axis.set_title(f"{plain(name)}\naccuracy {accuracy:.1%}", fontsize=9)
    human = (metrics["human"] or {}).get("screening")
    if human:
        found, alarms = human["true_positive_rate"], human["false_positive_rate"]
        figure.suptitle(
            f"people: {found:.1%} of the ghosted found, {alarms:.1%} of the clean called ghosted", fontsize=9
        )
    return figure


def _roc(metrics: Mapping[str, Any]) -> Figure:
    """ROC and precision-recall curves, the latter at the set's and at the survey's prevalence."""
    screening = metrics["screening"]
    figure = _figure(12.0, 4.6)
    axes = figure.subplots(1, 3)
    for k, (name, answer) in enumerate(_answers(metrics)):
        line = _line(k)
        true, false = answer["recall"]["value"], answer["false_alarm_rate"]["value"]
        at = {"marker": "o", "color": line["color"], "markersize": 7, "markeredgecolor": "black", "linestyle": "none"}
        axes[0].plot([_one(false)], [_one(true)], **at)
        for axis, key in zip(axes[1:], ("precision", "precision_at_prevalence"), strict=True):
            axis.plot([_one(true)], [_one(answer[key]["value"])], **at)
        label = plain(name)
        if answer["curve"] is not None:
            scanned = {key: _array(value) for key, value in answer["curve"].items()}
            label += f" (AUC {answer['roc_auc']['value']:.3f})"
            axes[0].plot(
                [0.0, *scanned["false_positive_rate"]], [0.0, *scanned["true_positive_rate"]], **line, label=label
            )
            for axis, key in zip(axes[1:], ("precision", "precision_at_prevalence"), strict=True):
                axis.plot(scanned["true_positive_rate"], scanned[key], **line)
        else:
            axes[0].plot([], [], label=label, **at)
    human = (metrics["human"] or {}).get("screening")
    if human:
        axes[0].plot(human["false_positive_rate"], human["true_positive_rate"], "k*", markersize=11, label="people")
    axes[0].plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes[0].set(xlabel="false-alarm rate", ylabel="recall of ghosted exposures", title="ROC; points: thresholds in use")
    axes[0].legend(fontsize=8, loc="lower right")
    shares = (screening["prevalence_of_the_set"], screening["prevalence"])
    for axis, share, whose in zip(axes[1:], shares, ("this set", "the survey"), strict=True):
        axis.set(xlabel="recall", ylabel="precision", title=f"{share:.1%} ghosted, as in {whose}")
        axis.axhline(share, color="grey", linewidth=0.8, linestyle=":")
        if human and human["true_positive_rate"]:
            found, alarms = share * human["true_positive_rate"], (1 - share) * human["false_positive_rate"]
            axis.plot(human["true_positive_rate"], found / (found + alarms), "k*", markersize=11)
    for axis in axes:
        axis.set_xlim(-0.02, 1.02)
        axis.set_ylim(-0.02, 1.03)
        axis.grid(alpha=0.3)
    return figure


def _reliability(metrics: Mapping[str, Any]) -> Figure:
    """Share of ghosted exposures by score, above the numbers of exposures."""
    answers = [(name, answer["reliability"]) for name, answer in _answers(metrics) if answer["reliability"]]
    figure = _figure(3.6 * len(answers) + 0.4, 4.6)
    axes = figure.subplots(2, len(answers), squeeze=False, sharex=True, height_ratios=(3, 1))
    for k, (name, found) in enumerate(answers):
        values = {key: _array(found[key]) for key in ("n", "edges", "mean_score", "ghosted_share", "low", "high")}
        known = values["n"] > 0
        score, share = values["mean_score"][known], values["ghosted_share"][known]
        spread = np.clip(np.stack([share - values["low"][known], values["high"][known] - share]), 0, None)
        top, bottom = axes[0, k], axes[1, k]
        top.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
        top.errorbar(score, share, spread, fmt="o-", color=COLOURS[k % len(COLOURS)], capsize=3, linewidth=1)
        top.set_title(f"{plain(name)}\nBrier {found['brier']:.3f}, error {found['calibration_error']:.3f}", fontsize=9)
        top.set_xlim(-0.02, 1.02)
        top.set_ylim(-0.02, 1.04)
        top.grid(alpha=0.3)
        edges = values["edges"]
        bottom.bar(edges[:-1], values["n"], np.diff(edges), align="edge", color="#bbbbbb", edgecolor="white")
        bottom.set_xlabel("score")
    axes[0, 0].set_ylabel("share ghosted (Wilson, 95 %)")
    axes[1, 0].set_ylabel("exposures")
    return figure


def _differences(metrics: Mapping[str, Any]) -> Figure:
    """Differences between the run and each competitor, with intervals."""
    colours, first = _colours(metrics), metrics["systems"][0]
    rows: list[tuple[str, tuple[str, ...]]] = [
        (f"CCD F1 {group}, t = 0", ("ccd_f1", "paper", "0.00", group)) for group in metrics["ccd"]["groups"]
    ]
    rows += [(f"pixel IoU {group}", ("pixel_iou", group)) for group in metrics["ccd"]["groups"]]
    rows += [(f"COCO AP50 {name}", ("coco", name, "AP50")) for name in CLASSES]
    figure = _figure(7.5, 0.32 * len(rows) + 1.4)
    axis = figure.subplots()
    step = 0.6 / max(len(metrics["differences"]), 1)
    for k, (name, found) in enumerate(metrics["differences"].items()):
        for row, (_, keys) in enumerate(rows):
            one = found
            for key in keys:
                one = one and one[key]
            if not one or one["value"] is None:
                continue
            at = row + (k - (len(metrics["differences"]) - 1) / 2) * step
            axis.plot([_one(one["low"]), _one(one["high"])], [at, at], color=colours[name], linewidth=1.4)
            axis.plot(one["value"], at, "o", color=colours[name], markersize=5)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [label for label, _ in rows])
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel(f"{plain(first)} less the other (95 %, paired by exposure)")
    handles = [Line2D([], [], color=colours[name], marker="o", label=plain(name)) for name in metrics["differences"]]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), frameon=False, fontsize=9)
    return figure


def _one(value: float | None) -> float:
    """A number to plot; NaN plots nothing."""
    return float("nan") if value is None else value
