"""Charts of a report as SVG, with words for those who cannot see them; colours come from ``theme.css``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from cascade.camera import Camera
from cascade.pages.report.snapshot import Int64Array, NightRow, band_rank, highest_share

_WIDTH = 1000
_LEFT = 90  # room for the names of bands and counts
_BANDS_HEIGHT = 400  # shared by the bands
_BAND_HEIGHTS = (58, 100)  # least and most of one
_MIN_DATE = 90  # room for a date
_MAX_BAR = 22.0
_N_DATES = 8
_HISTOGRAM_HEIGHT = 260
_AXIS = 34  # room for labels below


def nights_chart(rows: Sequence[NightRow]) -> str:
    """Flagged fraction per night, a line of bars for each band."""
    nights = list(dict.fromkeys(row.night for row in rows))
    bands = sorted({row.band for row in rows}, key=band_rank)
    found = {(row.night, row.band): row for row in rows}
    most = highest_share(rows) or 1.0
    step = (_WIDTH - _LEFT) / max(len(nights), 1)
    least, greatest = _BAND_HEIGHTS
    band_height = min(max(_BANDS_HEIGHT // max(len(bands), 1), least), greatest)
    width = min(step * 0.85, _MAX_BAR)
    parts = []
    for k, band in enumerate(bands):
        base = (k + 1) * band_height
        parts.append(_text(_LEFT - 10, base - 6, band, "end", "label"))
        parts.append(f'<path class="axis" d="M{_LEFT} {base}H{_WIDTH}"/>')
        for n, night in enumerate(nights):
            row = found.get((night, band))
            if row is None:
                continue
            height = (band_height - 12) * row.n_flagged / row.n_exposures / most
            said = f"{night} {band}: {row.n_flagged} of {row.n_exposures} flagged, {row.n_ghosted} ghosted"
            x = _LEFT + step * n + (step - width) / 2
            # A night without flagged exposures shows as a thin line.
            parts.append(
                f'<rect class="bar" x="{x:.1f}" y="{base - height - 1:.1f}" width="{width:.1f}" '
                f'height="{height + 1:.1f}"><title>{escape(said)}</title></rect>'
            )
    bottom = len(bands) * band_height
    shown = sorted({round(k) for k in np.linspace(0, len(nights) - 1, min(_N_DATES, len(nights)))}) if nights else []
    for n in shown:
        anchor = "middle"
        if step < _MIN_DATE and n in (0, len(nights) - 1):
            anchor = "end" if n else "start"
        parts.append(_text(_LEFT + step * (n + 0.5), bottom + 20, nights[n], anchor, "tick"))
    words = f"Flagged fraction of {len(nights)} nights in the bands {', '.join(bands)}; highest {most:.1%}."
    return _svg(_WIDTH, bottom + _AXIS, parts, words)


def focal_plane_chart(camera: Camera, counts: Mapping[int, int]) -> str:
    """How often each CCD is vetoed, on the focal plane."""
    most = max(counts.values(), default=0)
    parts = []
    for ccdnum, x, y, width, height in ccd_boxes(camera):
        count = counts.get(ccdnum, 0)
        share = count / most if most else 0.0
        said = f"CCD {ccdnum} ({camera.detpos(ccdnum)}): vetoed in {count} exposures"
        dark = ' class="on-dark"' if share > 0.55 else ""
        parts.append(
            f'<g><title>{escape(said)}</title><rect class="cell" x="{x}" y="{y}" width="{width}" height="{height}"/>'
            f'<rect class="heat" x="{x}" y="{y}" width="{width}" height="{height}" fill-opacity="{share:.3f}"/>'
            f'<text{dark} x="{x + width / 2}" y="{y + height / 2 - 2}">{ccdnum}</text>'
            f'<text{dark} x="{x + width / 2}" y="{y + height / 2 + 20}">{count}</text></g>'
        )
    worst = sorted(counts, key=lambda ccdnum: (-counts[ccdnum], ccdnum))[:3]
    named = ", ".join(f"{camera.detpos(ccdnum)} {counts[ccdnum]}" for ccdnum in worst)
    return _svg(800, 800, parts, f"Vetoed exposures of each CCD on the focal plane; most: {named}.", "focal-chart")


def ccd_boxes(camera: Camera) -> list[tuple[int, int, int, int, int]]:
    """(ccdnum, x, y, width, height) of the CCDs on the preview, in half pixels."""
    boxes = []
    for ccd in camera.ccds:
        rows, columns = (np.flatnonzero((camera.labels == ccd.ccdnum).any(axis=along)) for along in (1, 0))
        if len(rows):
            boxes.append((ccd.ccdnum, 2 * int(columns[0]), 2 * int(rows[0]), 2 * len(columns), 2 * len(rows)))
    return boxes


def histogram_chart(counts: Int64Array, threshold: float | None) -> str:
    """Exposures by screen score, on a logarithmic axis, with the threshold."""
    decades = max(1, int(np.ceil(np.log10(max(int(counts.max(initial=0)), 1) + 1))))
    base, top = _HISTOGRAM_HEIGHT, 14
    scale = (base - top) / decades
    step = (_WIDTH - _LEFT) / len(counts)
    parts = []
    for decade in range(decades + 1):
        y = base - decade * scale
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{10**decade:,}" if decade else "1", "end", "tick"))
    for k, count in enumerate(counts):
        if count == 0:
            continue
        low, high = k / len(counts), (k + 1) / len(counts)
        height = max(3.0, np.log10(count) * scale)
        kind = "bar strong" if threshold is not None and low >= threshold else "bar"
        parts.append(
            f'<rect class="{kind}" x="{_LEFT + k * step + 1:.1f}" y="{base - height:.1f}" width="{step - 2:.1f}" '
            f'height="{height:.1f}"><title>score {low:.2f} to {high:.2f}: {count} exposures</title></rect>'
        )
    for tick in np.linspace(0, 1, 6):
        anchor = "end" if tick == 1 else "middle"
        parts.append(_text(_LEFT + tick * (_WIDTH - _LEFT), base + 20, f"{tick:.1f}", anchor, "tick"))
    words = f"{counts.sum()} exposures by screen score."
    if threshold is not None:
        x = _LEFT + threshold * (_WIDTH - _LEFT)
        side, dx = ("end", -6) if threshold > 0.7 else ("start", 6)
        parts.append(f'<path class="threshold" d="M{x:.1f} 0V{base}"/>')
        parts.append(_text(x + dx, 11, f"threshold {threshold:.3g}", side, "label"))
        words += f" Threshold {threshold:.3g}."
    return _svg(_WIDTH, base + _AXIS, parts, words)


def stages_chart(seconds: Mapping[str, float]) -> str:
    """Seconds spent in each stage, as bars."""
    most = max(seconds.values(), default=0.0) or 1.0
    parts = []
    for k, (stage, spent) in enumerate(seconds.items()):
        y = 34 * k
        width = (_WIDTH - 330) * spent / most
        parts.append(_text(120, y + 19, stage, "end", "label"))
        parts.append(f'<rect class="bar" x="130" y="{y + 4}" width="{max(width, 1):.1f}" height="20"/>')
        parts.append(_text(140 + width, y + 19, f"{spent:,.1f} s", "start", "tick"))
    words = "Seconds of all workers by stage: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in seconds.items())
    return _svg(_WIDTH, max(34 * len(seconds), 1), parts, words)


def _text(x: float, y: float, words: str, anchor: str, class_: str) -> str:
    """A line of text."""
    return f'<text class="{class_}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(width: int, height: int, parts: Sequence[str], words: str, class_: str = "chart") -> str:
    """A picture that says in words what it shows."""
    inner = "".join(parts)
    return f'<svg class="{class_}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words)}">{inner}</svg>'
