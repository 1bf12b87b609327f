"""Layout of a report's charts; a template renders them as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cascade.camera import Camera
from cascade.pages.report.snapshot import Int64Array, NightRow, band_rank, highest_share

_WIDTH = 1000
_LEFT = 90  # margin for the names of bands and counts
_BANDS_HEIGHT = 400  # shared by the bands
_BAND_HEIGHTS = (58, 100)  # least and most of one
_MIN_DATE = 90  # smallest spacing of dates
_MAX_BAR = 22.0
_N_DATES = 8
_HISTOGRAM_HEIGHT = 260
_AXIS = 34  # margin for labels below
_DARK_SHARE = 0.55


@dataclass(frozen=True, slots=True)
class Line:
    """A line along an SVG path."""

    tag: ClassVar = "path"
    class_: str
    path: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its tooltip."""

    tag: ClassVar = "rect"
    class_: str
    x: float
    y: float
    width: float
    height: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text; `anchor` as in SVG."""

    tag: ClassVar = "text"
    x: float
    y: float
    words: str
    anchor: str
    class_: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A CCD: `share` in [0, 1] colours it, `labels` are the lines of text in it."""

    tag: ClassVar = "g"
    x: int
    y: int
    width: int
    height: int
    words: str
    share: float
    labels: tuple[int, ...]

    @property
    def on_dark(self) -> bool:
        """Whether text must be light."""
        return self.share > _DARK_SHARE


Part = Line | Bar | Text | Cell


@dataclass(frozen=True, slots=True)
class Chart:
    """
    A chart with its text alternative.

    Attributes
    ----------
    width, height
        Size, in units of its parts.
    parts
        In drawing order.
    words
        Text alternative, for screen readers.
    class_
        CSS class.
    """

    width: int
    height: int
    parts: Sequence[Part]
    words: str
    class_: str = "chart"


def nights_chart(rows: Sequence[NightRow]) -> Chart:
    """Flagged fraction per night, one row of bars per band."""
    nights = list(dict.fromkeys(row.night for row in rows))
    bands = sorted({row.band for row in rows}, key=band_rank)
    found = {(row.night, row.band): row for row in rows}
    most = highest_share(rows) or 1.0
    step = (_WIDTH - _LEFT) / max(len(nights), 1)
    least, greatest = _BAND_HEIGHTS
    band_height = min(max(_BANDS_HEIGHT // max(len(bands), 1), least), greatest)
    width = min(step * 0.85, _MAX_BAR)
    parts: list[Part] = []
    for k, band in enumerate(bands):
        base = (k + 1) * band_height
        parts.append(Text(_LEFT - 10, base - 6, band, "end", "label"))
        parts.append(Line("axis", f"M{_LEFT} {base}H{_WIDTH}"))
        for n, night in enumerate(nights):
            row = found.get((night, band))
            if row is None:
                continue
            height = (band_height - 12) * row.n_flagged / row.n_exposures / most
            said = f"{night} {band}: {row.n_flagged} of {row.n_exposures} flagged, {row.n_ghosted} ghosted"
            x = _LEFT + step * n + (step - width) / 2
            # A night without flagged exposures is shown as a thin line.
            parts.append(Bar("bar", x, base - height - 1, width, height + 1, said))
    bottom = len(bands) * band_height
    shown = sorted({round(k) for k in np.linspace(0, len(nights) - 1, min(_N_DATES, len(nights)))}) if nights else []
    for n in shown:
        anchor = "middle"
        if step < _MIN_DATE and n in (0, len(nights) - 1):
            anchor = "end" if n else "start"
        parts.append(Text(_LEFT + step * (n + 0.5), bottom + 20, nights[n], anchor, "tick"))
    words = f"Flagged fraction of {len(nights)} nights in the bands {', '.join(bands)}; highest {most:.1%}."
    return Chart(_WIDTH, bottom + _AXIS, parts, words)


def focal_plane_chart(camera: Camera, counts: Mapping[int, int]) -> Chart:
    """How often each CCD is vetoed, on the focal plane."""
    most = max(counts.values(), default=0)
    parts: list[Part] = []
    for ccdnum, x, y, width, height in ccd_boxes(camera):
        count = counts.get(ccdnum, 0)
        share = count / most if most else 0.0
        said = f"CCD {ccdnum} ({camera.detpos(ccdnum)}): vetoed in {count} exposures"
        parts.append(Cell(x, y, width, height, said, share, (ccdnum, count)))
    worst = sorted(counts, key=lambda ccdnum: (-counts[ccdnum], ccdnum))[:3]
    named = ", ".join(f"{camera.detpos(ccdnum)} {counts[ccdnum]}" for ccdnum in worst)
    return Chart(800, 800, parts, f"Vetoed exposures of each CCD on the focal plane; most: {named}.", "focal-chart")


def ccd_boxes(camera: Camera) -> list[tuple[int, int, int, int, int]]:
    """(ccdnum, x, y, width, height) of the CCDs on the preview, in half pixels."""
    boxes = []
    for ccd in camera.ccds:
        rows, columns = (np.flatnonzero((camera.labels == ccd.ccdnum).any(axis=along)) for along in (1, 0))
        if len(rows):
            boxes.append((ccd.ccdnum, 2 * int(columns[0]), 2 * int(rows[0]), 2 * len(columns), 2 * len(rows)))
    return boxes


def histogram_chart(counts: Int64Array, threshold: float | None) -> Chart:
    """Exposures by screen score, on a logarithmic axis, with the threshold."""
    decades = max(1, int(np.ceil(np.log10(max(int(counts.max(initial=0)), 1) + 1))))
    base, top = _HISTOGRAM_HEIGHT, 14
    scale = (base - top) / decades
    step = (_WIDTH - _LEFT) / len(counts)
    parts: list[Part] = []
    for decade in range(decades + 1):
        y = base - decade * scale
        parts.append(Line("grid", f"M{_LEFT} {y:.1f}H{_WIDTH}"))
        parts.append(Text(_LEFT - 8, y + 4, f"{10**decade:,}" if decade else "1", "end", "tick"))
    for k, count in enumerate(counts):
        if count == 0:
            continue
        low, high = k / len(counts), (k + 1) / len(counts)
        height = max(3.0, np.log10(count) * scale)
        kind = "bar strong" if threshold is not None and low >= threshold else "bar"
        said = f"score {low:.2f} to {high:.2f}: {count} exposures"
        parts.append(Bar(kind, _LEFT + k * step + 1, base - height, step - 2, height, said))
    for tick in np.linspace(0, 1, 6):
        anchor = "end" if tick == 1 else "middle"
        parts.append(Text(_LEFT + tick * (_WIDTH - _LEFT), base + 20, f"{tick:.1f}", anchor, "tick"))
    words = f"{counts.sum()} exposures by screen score."
    if threshold is not None:
        x = _LEFT + threshold * (_WIDTH - _LEFT)
        side, dx = ("end", -6) if threshold > 0.7 else ("start", 6)
        parts.append(Line("threshold", f"M{x:.1f} 0V{base}"))
        parts.append(Text(x + dx, 11, f"threshold {threshold:.3g}", side, "label"))
        words += f" Threshold {threshold:.3g}."
    return Chart(_WIDTH, base + _AXIS, parts, words)


def stages_chart(seconds: Mapping[str, float]) -> Chart:
    """Seconds spent in each stage, as bars."""
    most = max(seconds.values(), default=0.0) or 1.0
    parts: list[Part] = []
    for k, (stage, spent) in enumerate(seconds.items()):
        y = 34 * k
        width = (_WIDTH - 330) * spent / most
        parts.append(Text(120, y + 19, stage, "end", "label"))
        parts.append(Bar("bar", 130, y + 4, max(width, 1), 20))
        parts.append(Text(140 + width, y + 19, f"{spent:,.1f} s", "start", "tick"))
    words = "Seconds of all workers by stage: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in seconds.items())
    return Chart(_WIDTH, max(34 * len(seconds), 1), parts, words)
