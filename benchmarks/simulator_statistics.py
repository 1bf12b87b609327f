"""
Compare a simulated season with real ones: `python benchmarks/simulator_statistics.py ANNOTATIONS COMMON_CORE`.

Compares 5,000 simulated ghosted exposures with the 1975 annotated ones: number, size, position and shape of instances,
class mix and co-occurrence; grey levels with the real previews; the brightness step along simulated and annotated
outlines. Writes PNGs beside this file and prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.via import read_via
from cascade.simulate import Season, Simulator
from cascade.training.annotated import load_annotated

HERE = Path(__file__).parent
CAMERA = Camera.decam()
LIT = (CAMERA.labels > 0) & ~CAMERA.dark_pixels(None) & (CAMERA.labels != 2)
PERCENTILES = [5, 25, 50, 75, 95]
GREY = [1, 5, 25, 50, 75, 90, 95, 99]


def shape_facts(regions):
    """(class, area in % of the lit focal plane, distance from the middle in px, axis ratio, angle to the radius)."""
    rows = []
    for region in regions:
        y, x = np.nonzero(region.mask())
        if len(y) < 20:
            continue
        sizes, axes = np.linalg.eigh(np.cov(np.stack([x, y])))
        outward = np.arctan2(y.mean() - 199.5, x.mean() - 199.5)
        lean = (np.arctan2(axes[1, 1], axes[0, 1]) - outward + np.pi / 2) % np.pi - np.pi / 2
        distance = np.hypot(y.mean() - 199.5, x.mean() - 199.5)
        ratio = np.sqrt(sizes[1] / max(sizes[0], 1e-3))
        rows.append(
            (int(region.artifact), 100 * len(y) / (CAMERA.labels > 0).sum(), distance, ratio, abs(np.degrees(lean)))
        )
    return rows


def step(image, region, n_tries=40):
    """S/N of the best brightness step along outlines near a circle or an ellipse: the visibility of a ghost."""
    sky = np.median(image[LIT])
    light = np.clip(image - sky, -60, 60)
    noise = 1.25 * np.abs(np.clip(light[LIT], -30, 30)).mean()
    cos, sin = np.cos(region.theta), np.sin(region.theta)
    best, at = None, np.array([region.rows[0], region.columns[0], *region.radii])
    for n in range(n_tries):
        rng = np.random.default_rng(n)
        trial = at if n == 0 else at + rng.normal(0, 2 if n < n_tries / 2 else 0.7, 4)
        reach = trial[2:].max() + 9
        window = np.s_[
            int(max(trial[0] - reach, 0)) : int(max(trial[0] + reach, 1)),
            int(max(trial[1] - reach, 0)) : int(max(trial[1] + reach, 1)),
        ]
        part = light[window]
        if part.size == 0:
            return np.nan
        y = np.arange(part.shape[0])[:, None] + window[0].start - trial[0]
        x = np.arange(part.shape[1]) + window[1].start - trial[1]
        size = np.sqrt(max(trial[2] * trial[3], 1.0))
        along, across = (cos * x + sin * y) / trial[3], (cos * y - sin * x) / trial[2]
        depth = np.round((np.hypot(along, across) - 1) * size)
        inside = LIT[window] & (depth >= -3) & (depth <= 0)
        outside = LIT[window] & (depth >= 1) & (depth <= 4)
        if min(inside.sum(), outside.sum()) < 20:
            if best is None:
                return np.nan
            continue
        score = (part[inside].mean() - part[outside].mean()) * np.sqrt(inside.sum() + outside.sum()) / 2 / noise
        if best is None or score > best:
            best, at = score, trial
    return best


def steppable(region):
    return region.shape in ("circle", "ellipse") and region.artifact != Artifact.RAYS and min(region.radii) > 6


def draw(job):
    """Statistics of a part of the season."""
    season, start, stop, n_pictures = job
    simulator = Simulator()
    started = time.process_time()
    drawn = [season.draw(n, simulator) for n in range(start, stop)]
    seconds = time.process_time() - started
    shapes = [shape_facts([label.region for label in exposure.labels]) for exposure in drawn]
    grey = [np.percentile(exposure.image[LIT], GREY) for exposure in drawn]
    steps = [
        (np.sqrt(np.prod(label.region.radii)), label.snr, step(exposure.image.astype(float), label.region))
        for exposure in drawn[:n_pictures]
        for label in exposure.labels
        if steppable(label.region)
    ]
    return shapes, grey, steps, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def summary(shapes):
    """Statistics of a set of exposures."""
    shapes = [rows for rows in shapes if rows]
    flat = np.array([row for rows in shapes for row in rows])
    counts = np.array([len(rows) for rows in shapes])
    together = Counter("+".join(Artifact(c).label for c in sorted({row[0] for row in rows})) for rows in shapes)
    return flat, counts, {name: n / len(shapes) for name, n in together.items()}


def row(name, values, digits=2):
    return f"| {name} | " + " | ".join(f"{value:.{digits}f}" for value in values) + " |"


def tables(real, simulated):
    """Markdown tables, real beside simulated."""
    lines = ["| instances per exposure | mean | 5 % | 25 % | 50 % | 75 % | 95 % | maximum |", "|---" * 8 + "|"]
    for name, (_, counts, _) in (("annotated", real), ("simulated", simulated)):
        lines.append(row(name, [counts.mean(), *np.percentile(counts, [*PERCENTILES, 100])], 1))
    lines += ["", "| fraction of exposures | " + " | ".join(sorted(real[2])) + " |", "|---" * (1 + len(real[2])) + "|"]
    lines += [
        row(n, [s[2].get(k, 0) for k in sorted(real[2])]) for n, s in (("annotated", real), ("simulated", simulated))
    ]
    lines += [
        "",
        "| class | of instances | area % 5/25/50/75/95 | distance px 5/50/95 | axis ratio 50/95 |",
        "|---" * 5 + "|",
    ]
    for artifact in Artifact:
        for name, (flat, _, _) in (("annotated", real), ("simulated", simulated)):
            part = flat[flat[:, 0] == artifact]
            area = "/".join(f"{v:.2f}" for v in np.percentile(part[:, 1], PERCENTILES))
            distance = "/".join(f"{v:.0f}" for v in np.percentile(part[:, 2], [5, 50, 95]))
            ratio = "/".join(f"{v:.1f}" for v in np.percentile(part[:, 3], [50, 95]))
            lines.append(f"| {artifact.label}, {name} | {len(part) / len(flat):.2f} | {area} | {distance} | {ratio} |")
    leans = [np.median(s[0][s[0][:, 0] == Artifact.RAYS, 4]) for s in (real, simulated)]
    lines += ["", f"Median angle of Rays to the radius: annotated {leans[0]:.0f}, simulated {leans[1]:.0f} degrees."]
    return "\n".join(lines)


def quantile_plot(real, simulated, path):
    """Quantile-quantile plots, one panel per quantity."""
    figure = Figure(figsize=(13, 6.4), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 4).ravel()
    levels = np.linspace(1, 99, 50)
    panels = []
    for artifact in Artifact:
        of = [s[0][s[0][:, 0] == artifact] for s in (real, simulated)]
        panels.append((f"{artifact.label}: log10 area %", [np.log10(part[:, 1]) for part in of]))
        panels.append((f"{artifact.label}: distance px", [part[:, 2] for part in of]))
    panels.append(("rays: axis ratio", [s[0][s[0][:, 0] == Artifact.RAYS, 3] for s in (real, simulated)]))
    panels.append(("instances per exposure", [s[1] for s in (real, simulated)]))
    for axis, (title, (a, b)) in zip(axes, panels, strict=True):
        qa, qb = np.percentile(a, levels), np.percentile(b, levels)
        axis.plot(qa, qb, "o", ms=3)
        ends = [min(qa[0], qb[0]), max(qa[-1], qb[-1])]
        axis.plot(ends, ends, "k-", lw=0.6)
        axis.set(title=title, xlabel="annotated", ylabel="simulated")
    figure.savefig(path)


def side_by_side(images, season, path):
    """Twelve real exposures in the upper rows, twelve simulated in the lower, at the same stretch."""
    simulator = Simulator()
    pick = np.linspace(0, len(images) - 1, 12).astype(int)
    rows = [images[n] for n in pick] + [season.draw(n, simulator).image for n in range(12)]
    figure = Figure(figsize=(18, 12.4), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    for n, (axis, image) in enumerate(zip(figure.subplots(4, 6).ravel(), rows, strict=True)):
        axis.imshow(image, cmap="gray", vmin=0, vmax=200, interpolation="nearest")
        axis.set_axis_off()
        axis.set_title("real" if n < 12 else "simulated", fontsize=8)
    figure.savefig(path)
    with Image.open(path) as picture:
        picture.convert("L").quantize(64).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("des_annotations", type=Path)
    parser.add_argument("common_core", type=Path)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--pictures", type=Path, help="Folder for the pictures that show real exposures; never commit them."
    )
    options = parser.parse_args()
    season = Season(options.n, 1.0, options.seed)
    edges = np.linspace(0, options.n, max(2, options.n // 100) + 1).astype(int)
    jobs = [(season, int(a), int(b), 10) for a, b in itertools.pairwise(edges)]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(draw, jobs))
    simulated = summary([rows for part in parts for rows in part[0]])
    real = summary([shape_facts(r) for r in read_via(options.des_annotations / "annotations_full.json").values()])
    print(tables(real, simulated))
    quantile_plot(real, simulated, HERE / "simulator_quantiles.png")

    core = load_annotated(options.common_core / "images", options.common_core / "annotations")
    print(
        "\n| grey levels of lit CCDs, percentile | "
        + " | ".join(map(str, GREY))
        + " |\n"
        + "|---" * (1 + len(GREY))
        + "|"
    )
    print(row("real, median of 25", np.median([np.percentile(image[LIT], GREY) for image in core.images], axis=0), 0))
    print(row("simulated", np.median([grey for part in parts for grey in part[1]], axis=0), 0))

    by_name = {f"Ghost_img_D{e:08d}.jpg": i.astype(float) for e, i in zip(core.expnums, core.images, strict=True)}
    seen = [
        (np.sqrt(np.prod(region.radii)), step(by_name[name], region))
        for file in sorted((options.common_core / "annotations").glob("*.json"))[::2]
        for name, regions in read_via(file).items()
        for region in regions
        if name in by_name and steppable(region)
    ]
    seen = np.array(seen)
    steps = np.array([found for part in parts for found in part[2]])
    print("\n| S/N of the step along an outline | n | 10 % | 25 % | 50 % | 90 % |\n" + "|---" * 6 + "|")
    for low, high in ((0, 25), (25, 50), (50, 300)):
        for name, values, sizes in (("annotated", seen[:, 1], seen[:, 0]), ("simulated", steps[:, 2], steps[:, 0])):
            part = values[(sizes >= low) & (sizes < high) & np.isfinite(values)]
            print(row(f"{name}, radius {low}-{high} px", [len(part), *np.percentile(part, [10, 25, 50, 90])], 1))
    print("\n| simulated: S/N by the rule | 10-14 | 14-20 | 20-40 | 40+ |\n" + "|---" * 5 + "|")
    of_rule = [
        np.nanmedian(steps[(steps[:, 1] >= a) & (steps[:, 1] < b), 2])
        for a, b in ((10, 14), (14, 20), (20, 40), (40, 1e9))
    ]
    print(row("median S/N of the step", of_rule, 1))
    seconds = sum(part[3] for part in parts)
    print(
        f"\n{options.n / seconds:.1f} ghosted exposures/s per core; "
        f"{max(part[4] for part in parts):.0f} MiB per process"
    )
    if options.pictures:
        side_by_side(core.images, Season(12, 1.0, 77), options.pictures / "simulator_side_by_side.png")


if __name__ == "__main__":
    main()
