"""Table and figure of `cascade.bench.seasons`, from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cascade.bench.study import head, table
from cascade.evaluate.figures import COLOURS

_CASCADE, _ALONE, _PAPER = COLOURS[0], COLOURS[1], COLOURS[2]
_STAGES = ("read", "screen", "segment", "tables", "store")
_MAX_LOST = 0.01  # fraction of ghosted CCDs


def lines(study: Mapping[str, Any]) -> list[str]:
    """The study as Markdown."""
    paper = {row["engine"]: row for row in study["paper"]}
    first = next(iter(paper.values()), None)
    text = head(study)
    text += table(
        ("ghosted", "flagged", "cascade, exposures/s", "Mask R-CNN alone", "speed-up",
         *(f"over {row['network']}, {engine}*" for engine, row in paper.items()),
         *(f"{stage}, ms" for stage in _STAGES), "in networks"),
        [_speed_row(season, paper) for season in study["seasons"]],
    )  # fmt: skip
    text += _remarks(study, first)
    text += ["CCDs touched by an artifact, all classes (in brackets: 95 % interval over exposures):", ""]
    losses = [(f"{season['prevalence']:.1%}", season["losses"]) for season in study["seasons"]]
    text += table(
        ("ghosted", "ghosted exposures missed", "ghost area missed", "CCDs in exposures called clean",
         "of all CCDs, lost to the screen", "false CCDs prevented", "F1 alone", "F1 cascade", "difference"),
        [_loss_row(name, one, "touched") for name, one in (*losses, ("whole pool", study["all_exposures"]))],
    )  # fmt: skip
    area = study["area_thresholds"]["vetoed"]
    text += [f"CCDs covered by more than {area:.0%}, as in `cascade veto`:", ""]
    text += table(
        ("ghosted", "ghosted exposures missed", "ghost area missed", "CCDs in exposures called clean",
         "of all CCDs, lost to the screen", "false CCDs prevented", "F1 alone", "F1 cascade", "difference"),
        [_loss_row(name, one, "vetoed") for name, one in (*losses, ("whole pool", study["all_exposures"]))],
    )  # fmt: skip
    text += [
        "*Lost to the screen*: truly affected, found by Mask R-CNN alone, in an exposure that the screen called clean. "
        f"The whole pool ({study['pool']['n_ghosted']} ghosted, {study['pool']['n_clean']} clean exposures) gives the "
        "best estimate of losses, which do not depend on the prevalence; false CCDs and F1 do.",
    ]
    return text


def _speed_row(season: Mapping[str, Any], paper: Mapping[str, Any]) -> tuple[object, ...]:
    """Throughput and times at one prevalence."""
    cascade, alone = season["cascade"], season["alone"]
    stages = cascade["stages_ms"]
    in_networks = (stages["screen"] + stages["segment"]) / cascade["ms"]
    return (
        f"{season['prevalence']:.1%}", f"{cascade['p_flag']:.1%}", f"{cascade['exposures_per_s']:.0f}",
        f"{alone['exposures_per_s']:.1f}", f"**{season['speed_up']:.1f}x**",
        *(f"{1000 / row['images_per_s'] / cascade['ms']:.0f}x" for row in paper.values()),
        *(f"{stages[stage]:.2f}" for stage in _STAGES), f"{in_networks:.0%}",
    )  # fmt: skip


def _remarks(study: Mapping[str, Any], first: Mapping[str, Any] | None) -> list[str]:
    """Notes on the times."""
    model, screen, n = study["model"], study["screen"], study["seasons"][0]["cascade"]["n"]
    n_alone = study["seasons"][0]["alone"]["n"]
    same = min(season["same_artifacts"] for season in study["seasons"])
    how_many = "every one" if same == 1 else f"{same:.2%} or more"
    text = [
        f"{n:,} exposures a season, {n_alone} for Mask R-CNN alone (`--no-screen`, {study['networks']['segment']}), "
        "from Zarr stores of previews in one process, without the time to load networks. Milliseconds are per "
        "exposure; reading overlaps with the rest; *in networks*: fraction of the time in screen and segment. The "
        f"seasons are sampled from one pool of {study['pool']['n_clean']:,} clean and "
        f"{study['pool']['n_ghosted']:,} ghosted exposures: they share exposures, none contains one twice. In "
        f"{how_many} of the flagged exposures the cascade found the same number of artifacts and pixels as Mask R-CNN "
        "alone.",
        "",
        f"**Model**: t = {model['t_screen_ms']:.2f} ms + p_flag x {model['t_segment_ms']:.1f} ms; the largest residual "
        f"is {model['worst']:.0%}. At the threshold of {study['networks']['screen']}, "
        f"{study['threshold']:.3g}, the screen flags {screen['recall']:.1%} of the ghosted and "
        f"{screen['false_alarm_rate']:.2%} of the clean exposures.",
        "",
        "**Break-even**: " + "; ".join(_break_even(name, at) for name, at in study["break_even"].items()) + ".",
        "",
        _fastest(study["trade_off"]),
        "",
    ]
    if first is None:
        return [*text, "This trial run does not include the paper's network.", ""]
    speeds = ", ".join(f"{1 / row['images_per_s']:.1f} s in {row['engine']}" for row in study["paper"])
    return [
        *text,
        f"\\* **Extrapolated**: {first['network']} at 1024x1024 with random weights took {speeds} per image, measured "
        f"on {' and '.join(str(row['n_images']) for row in study['paper'])} images; no whole season was run.",
        "",
    ]


def _break_even(baseline: str, prevalence: float | None) -> str:
    """Break-even prevalence in words."""
    network = "Mask R-CNN alone" if baseline == "alone" else f"the paper's network in {baseline}"
    return f"against {network} " + (
        "screening is faster at every prevalence" if prevalence is None else f"up to {prevalence:.0%} ghosted"
    )


def _fastest(scanned: Mapping[str, Sequence[float]]) -> str:
    """Cost of the highest threshold that loses at most `_MAX_LOST` of the ghosted CCDs."""
    at = next(k for k, lost in enumerate(scanned["ccds_lost"]) if lost <= _MAX_LOST)  # none is lost by the last one
    return (
        f"**Other thresholds**, at 4 % ghosted, by the model: {scanned['threshold'][at]:.3g} is the highest that loses "
        f"no more than {_MAX_LOST:.0%} of the ghosted CCDs. It flags {scanned['recall'][at]:.1%} of the ghosted and "
        f"{scanned['false_alarm_rate'][at]:.2%} of the clean exposures: {scanned['speed_up'][at]:.1f}x, with "
        f"{1 - scanned['ccd_recall'][at]:.1%} of the ghosted CCDs in exposures called clean, found by Mask R-CNN or "
        "not."
    )


def _loss_row(name: str, losses: Mapping[str, Any], kind: str) -> tuple[object, ...]:
    """Losses at one prevalence."""
    ccds = losses[kind]
    return (
        name, _share(losses["ghosted_missed"]), _share(losses["area_missed"]), _share(ccds["ccds_unseen"]),
        _share(ccds["ccds_lost"]), f"{ccds['n_false_prevented']} of {ccds['n_false_alone']}",
        _figure_of(ccds["alone"]), _figure_of(ccds["cascade"]), _figure_of(ccds["difference"], "+"),
    )  # fmt: skip


def _share(entry: Mapping[str, float]) -> str:
    """A fraction in per cent with its interval."""
    return f"{entry['value']:.2%} [{entry['low']:.2%}, {entry['high']:.2%}]"


def _figure_of(entry: Mapping[str, float], sign: str = "") -> str:
    """A number with its interval."""
    return f"{entry['value']:{sign}.3f} [{entry['low']:{sign}.3f}, {entry['high']:{sign}.3f}]"


def figure(study: Mapping[str, Any]) -> Figure:
    """Throughput by prevalence, the cost model with its points, and the trade-off curve."""
    drawn = Figure(figsize=(15, 4.6), layout="constrained")
    axes = drawn.subplots(1, 3)
    _speed(axes[0], study)
    _cost(axes[1], study)
    _trade_off(axes[2], study)
    return drawn


def _speed(axes: Axes, study: Mapping[str, Any]) -> None:
    """Exposures/s by prevalence."""
    at = [100 * season["prevalence"] for season in study["seasons"]]
    for name, key, colour in (("cascade", "cascade", _CASCADE), ("Mask R-CNN alone", "alone", _ALONE)):
        axes.plot(at, [s[key]["exposures_per_s"] for s in study["seasons"]], "o-", color=colour, label=name)
    for row, style in zip(study["paper"], ("--", ":"), strict=False):
        label = f"{row['network']}, {row['engine']} (extrapolated)"
        axes.axhline(row["images_per_s"], color=_PAPER, linestyle=style, label=label)
    axes.set(xscale="log", yscale="log", xlabel="ghosted exposures (%)", ylabel="exposures/s", title="Throughput")
    axes.set_xticks(at, [f"{value:g}" for value in at])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _cost(axes: Axes, study: Mapping[str, Any]) -> None:
    """Milliseconds by fraction of flagged exposures: seasons, the whole pool, and the line."""
    points = [season["cascade"] for season in study["seasons"]]
    model = study["model"]
    p_flag = np.linspace(0, 1, 101)
    label = f"{model['t_screen_ms']:.2f} ms + p_flag x {model['t_segment_ms']:.1f} ms"
    axes.plot(100 * p_flag, model["t_screen_ms"] + p_flag * model["t_segment_ms"], color=_CASCADE, label=label)
    axes.plot([100 * p["p_flag"] for p in points], [p["ms"] for p in points], "o", color=_CASCADE, label="seasons")
    whole = study["everything"]
    axes.plot(100 * whole["p_flag"], whole["ms"], "s", color=_CASCADE, label="the whole pool, threshold 0")
    axes.axhline(study["t_alone_ms"], color=_ALONE, label="Mask R-CNN alone")
    axes.set(xlabel="flagged exposures (%)", ylabel="ms per exposure", title="Cost", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _trade_off(axes: Axes, study: Mapping[str, Any]) -> None:
    """Recall by speed-up over thresholds, with the threshold in use marked."""
    scanned, in_use = study["trade_off"], study["threshold"]
    nearest = int(np.argmin(np.abs(np.array(scanned["threshold"]) - in_use)))
    for label, fraction, colour in (
        ("ghosted exposures, flagged", np.array(scanned["recall"]), COLOURS[3]),
        ("ghosted CCDs, in flagged exposures", np.array(scanned["ccd_recall"]), COLOURS[4]),
        ("ghosted CCDs, not lost to the screen", 1 - np.array(scanned["ccds_lost"]), COLOURS[5]),
    ):
        axes.plot(scanned["speed_up"], 100 * fraction, "-", color=colour, label=label)
        axes.plot(scanned["speed_up"][nearest], 100 * fraction[nearest], "o", color=colour)
    axes.axhline(99, color="grey", linewidth=0.8, linestyle=":")
    axes.set(
        xscale="log", xlabel="speed-up over Mask R-CNN alone, 4 % ghosted", ylabel="%",
        title=f"Trade-off by threshold; point: {in_use:.3g}, in use", ylim=(50, 100.5),
    )  # fmt: skip
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left")
