"""Table and figure of `cascade.bench.roofline`, from its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cascade.bench.study import head, table
from cascade.evaluate.figures import COLOURS


def lines(study: Mapping[str, Any]) -> list[str]:
    """The study as Markdown."""
    size = study["matmul_size"]
    text = head(study)
    text += [
        f"Product of {size}² matrices, GFLOP/s: "
        + ", ".join(f"{speed:.0f} in {engine}" for engine, speed in study["matmul"].items())
        + ".",
        "",
    ]
    text += table(
        ("network", "engine", "GFLOP per image", "images/s", "time in the network", "GFLOP/s in it",
         "of the matrix product", "plain stack, GFLOP/s", "of the plain stack", "peak memory"),
        [_row(row, study["matmul"][row["engine"]]) for row in study["rows"]],
    )  # fmt: skip
    text += [
        "Operations are those of convolutions and matrix products alone. *images/s*: from uint8 previews to scores, or "
        "to masks on the focal plane. *Plain stack*: six 3x3 convolutions on 100x100 pixels with as many operations, "
        "in the engine's batch size. Each row is measured in a separate process; the fastest round counts.",
        "",
    ]
    for engine, profiles in study["profiles"].items():
        text += [f"Run time in {engine}, by OpenVINO's performance counters:", ""]
        text += table(
            ("network", "parts", "layers"),
            [
                (name, _shares(counted["parts"]), _shares(counted["layers"]))
                for name, counted in zip(("screen", "segment"), profiles, strict=True)
            ],
        )
    return text + _end_to_end(study["end_to_end"])


def _row(row: Mapping[str, Any], peak: float) -> tuple[object, ...]:
    """One network on one engine."""
    plain = row["plain"]["gflop_per_s"]
    return (
        row["network"], row["engine"], f"{row['gflop']:.2f}", f"{row['images_per_s']:.3g}",
        f"{row['share_in_network']:.0%}", f"{row['gflop_per_s']:.0f}", f"{row['gflop_per_s'] / peak:.0%}",
        f"{plain:.0f}", f"**{row['gflop_per_s'] / plain:.0%}**", f"{row['peak_mb']:.0f} MB",
    )  # fmt: skip


def _shares(shares: Mapping[str, float]) -> str:
    """Fractions as percentages, largest first, without those below 0.5 %."""
    ordered = sorted(shares.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in ordered if share >= 0.005)


def _end_to_end(season: Mapping[str, Any]) -> list[str]:
    """Run time of a season by stage."""
    seconds, stages = season["seconds"], season["stages_s"]
    inside = season["screen_network_s"] + season["segment_network_s"]
    within = season["segment_network_s"] / max(stages["segment"], 1e-9)
    return [
        f"**End to end**: {season['n']:,} exposures at 4 % ghosted ({season['n_flagged']} flagged) from a Zarr store "
        f"in {seconds:.1f} s, {season['exposures_per_s']:.0f} exposures/s on {' and '.join(season['engines'])}. "
        f"Networks take {inside / seconds:.0%} of the time: screen {season['screen_network_s'] / seconds:.0%}, segment "
        f"{season['segment_network_s'] / seconds:.0%} (which is {within:.0%} of the stage segment; the rest is "
        "pasting masks). "
        "Stages, as fractions of the total: "
        + ", ".join(f"{stage} {spent / seconds:.0%}" for stage, spent in stages.items())
        + "; reading overlaps with the others.",
    ]


def figure(study: Mapping[str, Any]) -> Figure:
    """Achieved and peak GFLOP/s, and the run time of a season."""
    drawn = Figure(figsize=(13, 4.8), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(3, 1))
    _bars(left, study)
    _season(right, study["end_to_end"])
    return drawn


def _bars(axes: Axes, study: Mapping[str, Any]) -> None:
    """A group of bars per engine: the matrix product, then each network beside its plain stack."""
    networks = list(dict.fromkeys(row["network"] for row in study["rows"]))
    width = 0.8 / (2 * len(networks) + 1)
    engines = list(study["matmul"])
    at = np.arange(len(engines))
    heights = list(study["matmul"].values())
    axes.bar(at - 0.4 + width / 2, heights, width, color="black", label="matrix product")
    for n, network in enumerate(networks):
        rows = {row["engine"]: row for row in study["rows"] if row["network"] == network}
        for k, (name, speeds) in enumerate((
            (network, [rows[engine]["gflop_per_s"] for engine in engines]),
            (f"plain stack of its size ({rows[engines[0]]['gflop']:.3g} GFLOP)",
             [rows[engine]["plain"]["gflop_per_s"] for engine in engines]),
        )):  # fmt: skip
            x = at - 0.4 + (1 + 2 * n + k + 0.5) * width
            heights += speeds
            axes.bar(x, speeds, width, color=COLOURS[n], alpha=(1.0, 0.4)[k], label=name)
    axes.set_xticks(at, engines)
    axes.set(yscale="log", ylabel="GFLOP/s", title="Networks and peak throughput of the machine")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, ncols=2, loc="upper left")
    axes.set_ylim(min(heights) / 3, max(heights) * 8)  # room for the legend


def _season(axes: Axes, season: Mapping[str, Any]) -> None:
    """One stacked bar."""
    stages = season["stages_s"]
    parts = {
        "screen network": season["screen_network_s"],
        "segment network": season["segment_network_s"],
        "pasting masks": stages["segment"] - season["segment_network_s"],
        "tables": stages["tables"],
        "store": stages["store"],
    }
    parts["waiting for input, rest"] = season["seconds"] - sum(parts.values())
    bottom = 0.0
    for colour, (name, seconds) in zip(COLOURS, parts.items(), strict=False):
        share = 100 * max(seconds, 0.0) / season["seconds"]
        axes.bar(0, share, 0.6, bottom=bottom, color=colour, label=f"{name} {share:.0f} %")
        bottom += share
    axes.set_xticks([])
    axes.set(ylabel="% of the time", title="A season, 4 % ghosted", xlim=(-0.5, 0.5))
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
