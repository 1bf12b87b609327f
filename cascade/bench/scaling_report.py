"""Table and figure of `cascade.bench.scaling`, from its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from cascade.bench.study import head, table
from cascade.evaluate.figures import COLOURS


def lines(study: Mapping[str, Any]) -> list[str]:
    """The study as Markdown."""
    text = head(study)
    text += table(
        ("run", "exposures", "exposures/s", "ms per exposure", "total seconds", "memory: middle, late, peak (MB)"),
        [_row(row) for row in study["rows"]],
    )
    text += [
        "4 % ghosted, batches of 256. Seasons of more than 1,000 read one store of 1,000 several times, from the page "
        "cache. *Stubs* of the networks leave everything else: reading, tables, masks, store, Dask. Over Dask, "
        "milliseconds are for the steady state, from the n-th commit of n workers to the last; up to 1,000 exposures "
        "are too few for that: theirs, and *total seconds*, include the start of workers and of their networks. Memory "
        "is resident memory of all processes, in the middle and in the last fifth of the time.",
        "",
        f"**A simulated cluster**: stubs that sleep {study['pause_ms']:.0f} ms per exposure, so that workers do not "
        "share the cores of this machine.",
        "",
    ]
    first = study["cluster"][0]
    text += table(
        ("workers", "exposures/s", "speed-up", "parallel efficiency"),
        [
            (row["workers"], f"{1000 / row['ms']:.0f}", f"{first['ms'] / row['ms']:.2f}",
             f"{first['ms'] / row['ms'] / (row['workers'] / first['workers']):.0%}")
            for row in study["cluster"]
        ],
    )  # fmt: skip
    return [
        *text,
        f"**Surveys**, from previews on this machine, extrapolated from {study['stretch']:,} exposures in one process: "
        + "; ".join(f"{name} ({of['n']:,}) {of['minutes']:.1f} minutes" for name, of in study["surveys"].items())
        + ".",
    ]


def _name(row: Mapping[str, Any]) -> str:
    """Label of a season."""
    how = "one process" if row["workers"] is None else f"{row['workers']} worker{'s' * (row['workers'] > 1)}"
    return f"{'networks' if row['networks'] else 'stubs'}, {how}"


def _row(row: Mapping[str, Any]) -> tuple[object, ...]:
    """One season."""
    memory = row["memory_mb"]
    return (
        _name(row), f"{row['n']:,}", f"{1000 / row['ms']:.0f}", f"{row['ms']:.2f}", f"{row['seconds']:.1f}",
        f"{memory['middle']:.0f}, {memory['late']:.0f}, {row['peak_mb']:.0f}",
    )  # fmt: skip


def figure(study: Mapping[str, Any]) -> Figure:
    """Time and memory by size of a season, and throughput by number of workers."""
    drawn = Figure(figsize=(14, 4.2), layout="constrained")
    time, memory, cluster = drawn.subplots(1, 3)
    names = list(dict.fromkeys(map(_name, study["rows"])))
    for name, colour in zip(names, COLOURS, strict=False):
        rows = sorted((row for row in study["rows"] if _name(row) == name), key=lambda row: row["n"])
        sizes = [row["n"] for row in rows]
        time.plot(sizes, [row["ms"] for row in rows], "o-", color=colour, label=name)
        memory.plot(sizes, [row["peak_mb"] for row in rows], "o-", color=colour, label=name)
    time.set(xscale="log", yscale="log", xlabel="exposures", ylabel="ms per exposure", title="Time")
    memory.set(xscale="log", xlabel="exposures", ylabel="peak memory (MB)", title="Memory", ylim=(0, None))
    workers = [row["workers"] for row in study["cluster"]]
    speeds = [1000 / row["ms"] for row in study["cluster"]]
    cluster.plot(workers, speeds, "o-", color=COLOURS[0], label="measured")
    cluster.plot(workers, [speeds[0] * n / workers[0] for n in workers], "k--", linewidth=0.8, label="ideal")
    cluster.set(
        xlabel="workers", ylabel="exposures/s", title=f"Simulated cluster, {study['pause_ms']:.0f} ms per exposure",
        xlim=(0, None), ylim=(0, None),
    )  # fmt: skip
    for axes in (time, memory, cluster):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return drawn
