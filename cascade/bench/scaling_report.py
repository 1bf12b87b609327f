"""The table and the figure of `cascade.bench.scaling`, from its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from cascade.bench.study import head, table
from cascade.evaluate.figures import COLOURS


def lines(study: Mapping[str, Any]) -> list[str]:
    """The study as Markdown."""
    told = head(study)
    told += table(
        ("what", "exposures", "exposures/s", "ms an exposure", "seconds in all", "memory: middle, late, most (MB)"),
        [_row(row) for row in study["rows"]],
    )
    told += [
        "4 % ghosted, batches of 256. Seasons of more than 1,000 hold one store of 1,000 several times, so the disk's "
        "cache serves it. *Stand-ins* for the networks leave everything else: reading, tables, masks, store, Dask. "
        "Over Dask, milliseconds are of the time when all workers are at work, from the commit by which each may have "
        "done one batch to the last; up to 1,000 exposures are too few for that: theirs, and *seconds in all*, hold "
        "the start of workers and of their networks, too. Memory is that of all processes, in the middle and in the "
        "last fifth of the time.",
        "",
        f"**A simulated cluster**: stand-ins that sleep {study['pause_ms']:.0f} ms an exposure, so that workers do not "
        "share the cores of this machine.",
        "",
    ]
    first = study["cluster"][0]
    told += table(
        ("workers", "exposures/s", "times one worker", "of ideal"),
        [
            (row["workers"], f"{1000 / row['ms']:.0f}", f"{first['ms'] / row['ms']:.2f}",
             f"{first['ms'] / row['ms'] / (row['workers'] / first['workers']):.0%}")
            for row in study["cluster"]
        ],
    )  # fmt: skip
    return [
        *told,
        f"**Surveys**, from previews on this machine, extrapolated from {study['stretch']:,} exposures in one process: "
        + "; ".join(f"{name} ({of['n']:,}) {of['minutes']:.1f} minutes" for name, of in study["surveys"].items())
        + ".",
    ]


def _name(row: Mapping[str, Any]) -> str:
    """What was run."""
    how = "one process" if row["workers"] is None else f"{row['workers']} worker{'s' * (row['workers'] > 1)}"
    return f"{'networks' if row['networks'] else 'stand-ins'}, {how}"


def _row(row: Mapping[str, Any]) -> tuple[object, ...]:
    """One season."""
    memory = row["memory_mb"]
    return (
        _name(row), f"{row['n']:,}", f"{1000 / row['ms']:.0f}", f"{row['ms']:.2f}", f"{row['seconds']:.1f}",
        f"{memory['middle']:.0f}, {memory['late']:.0f}, {row['peak_mb']:.0f}",
    )  # fmt: skip


def figure(study: Mapping[str, Any]) -> Figure:
    """Time and memory over the size of a season, and speed over workers."""
    drawn = Figure(figsize=(14, 4.2), layout="constrained")
    time, memory, cluster = drawn.subplots(1, 3)
    names = list(dict.fromkeys(map(_name, study["rows"])))
    for name, colour in zip(names, COLOURS, strict=False):
        rows = sorted((row for row in study["rows"] if _name(row) == name), key=lambda row: row["n"])
        sizes = [row["n"] for row in rows]
        time.plot(sizes, [row["ms"] for row in rows], "o-", color=colour, label=name)
        memory.plot(sizes, [row["peak_mb"] for row in rows], "o-", color=colour, label=name)
    time.set(xscale="log", yscale="log", xlabel="exposures", ylabel="ms an exposure", title="Time")
    memory.set(xscale="log", xlabel="exposures", ylabel="most memory (MB)", title="Memory", ylim=(0, None))
    workers = [row["workers"] for row in study["cluster"]]
    speeds = [1000 / row["ms"] for row in study["cluster"]]
    cluster.plot(workers, speeds, "o-", color=COLOURS[0], label="measured")
    cluster.plot(workers, [speeds[0] * n / workers[0] for n in workers], "k--", linewidth=0.8, label="ideal")
    cluster.set(
        xlabel="workers", ylabel="exposures/s", title=f"Simulated cluster, {study['pause_ms']:.0f} ms an exposure",
        xlim=(0, None), ylim=(0, None),
    )  # fmt: skip
    for axes in (time, memory, cluster):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return drawn
