"""Table and figure of `cascade.bench.real`, from its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cascade.bench.study import head, table
from cascade.evaluate.figures import COLOURS


def lines(study: Mapping[str, Any]) -> list[str]:
    """The study as Markdown."""
    text = head(study)
    groups = study["groups"]
    for t, area in enumerate(study["area_thresholds"]):
        text += [f"CCD F1, area threshold {area:.0%} (in brackets: 95 % interval over exposures):", ""]
        rows: list[tuple[object, ...]] = []
        for name, system in study["systems"].items():
            f1 = system["f1"]
            figures = [
                f"{f1['value'][t][g]:.3f} [{f1['low'][t][g]:.3f}, {f1['high'][t][g]:.3f}]" for g in range(len(groups))
            ]
            per_exposure = f"{system['f1_per_exposure'][t][0]:.3f}"
            rows.append((name, "**yes**" if system["seen"] else "no", *figures, per_exposure))
        people = [f"{value:.3f}" for value in study["people"][t]]
        rows.append(
            (f"annotators ({study['n_annotators']}, median)", "", *people, f"{study['people_per_exposure'][t][0]:.3f}")
        )
        text += table(("", "trained on them", *groups, "All, mean of exposures"), rows)
    text += [_sentences(study), ""]
    return text


def _sentences(study: Mapping[str, Any]) -> str:
    """Notes on the tables."""
    seen = ", ".join(f"{n} ({name})" for name, n in study["n_seen"].items())
    flagged = "; ".join(f"{name} {n}" for name, n in study["n_flagged"].items())
    text = (
        f"{study['n']} real exposures, all ghosted; the truth is the majority of {study['n_annotators']} annotators, "
        f"CCD by CCD; each annotator is compared with the majority of the others. Training sets include {seen} of "
        "these exposures, so rows marked **yes** are training metrics; the cross-validated rows are for held-out "
        f"exposures. Flagged by the screen: {flagged} of {study['n']}. "
    )
    differences = [
        f"{name} minus Mask R-CNN alone: {one['value'][0][0]:+.3f} [{one['low'][0][0]:+.3f}, {one['high'][0][0]:+.3f}]"
        for name, one in study["differences"].items()
    ]
    if not any(not system["seen"] for system in study["systems"].values()):
        text += "No cross-validation was given (`--segment-folds`, `--screen-folds`). "
    return text + "F1 All of " + "; ".join(differences) + "."


def figure(study: Mapping[str, Any]) -> Figure:
    """Bars by group, with lines for annotators."""
    groups, systems = study["groups"], study["systems"]
    drawn = Figure(figsize=(13, 4.4), layout="constrained")
    for t, (axes, area) in enumerate(zip(drawn.subplots(1, 2, sharey=True), study["area_thresholds"], strict=True)):
        width = 0.8 / len(systems)
        for k, (name, system) in enumerate(systems.items()):
            value, low, high = (np.array(system["f1"][key][t], float) for key in ("value", "low", "high"))
            at = np.arange(len(groups)) - 0.4 + (k + 0.5) * width
            spread = np.clip(np.stack([value - low, high - value]), 0, None)
            axes.bar(at, value, 0.9 * width, yerr=spread, capsize=2, color=COLOURS[k], hatch="//" * system["seen"],
                     edgecolor="white", error_kw={"linewidth": 0.8},
                     label=f"{name}{' (trained on them)' * system['seen']}")  # fmt: skip
        for g, value in enumerate(study["people"][t]):
            axes.hlines(value, g - 0.45, g + 0.45, color="black", linestyle="--", label=None if g else "annotators")
        axes.set_xticks(np.arange(len(groups)), groups)
        axes.set(title=f"{study['n']} real exposures, area threshold {area:.0%}", ylim=(0, 1))
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        if not t:
            axes.set_ylabel("CCD F1 (95 % interval over exposures)")
    handles, labels = axes.get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return drawn
