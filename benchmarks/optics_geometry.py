"""
Compare ray-traced ghosts with annotated outlines: ``python benchmarks/optics_geometry.py [--out FOLDER]``.

For every real exposure of the dev set, the circles and ellipses of Bright and Faint on which at least two of the eight
annotators agree are fitted with the ghosts of one star. Three parameters per exposure are free: the star's field angle,
its azimuth, and the filter position. The null is the same fit to the same shapes, each rotated about the centre of the
field by a random angle.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.optimize import minimize

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.via import read_via
from cascade.optics.ghost_image import StarGeometry
from cascade.optics.ghost_optics import GhostOptics, Star

PAIRS = (
    "D>C5_exit", "D>C5_entrance", "D>C4_entrance", "C5_exit>C5_entrance", "D>C4_exit", "D>C3_entrance", "D>C3_exit",
    "D>Filter_exit", "D>Filter_entrance", "C4_exit>Filter_exit", "C4_exit>Filter_entrance",
)  # fmt: skip
ANGLES_DEG = np.arange(0.0, 1.24, 0.02)
AZIMUTHS_DEG = np.arange(0.0, 360.0, 3.0)
OFFSETS_MM = np.arange(-200.0, 51.0, 25.0)
CAP_PX = 20.0  # maximum loss of a shape, so that unexplained ones do not dominate
NEAR_PX = 6.0
N_STARTS = 6
N_NULLS = 5
N_ANNOTATORS = 2
SAME_CENTRE_PX, SAME_RADIUS = 8.0, 0.25


@dataclass(frozen=True)
class Shape:
    """A circle or ellipse: centre and the geometric mean of its semi-axes, px."""

    row: float
    column: float
    radius: float
    annotators: int = 1


def drawn_shapes(folder: Path) -> dict[str, list[Shape]]:
    """The shapes on which annotators agree, by image."""
    drawn: dict[str, list[tuple[Shape, str]]] = {}
    for path in sorted(folder.glob("*.json")):
        for name, regions in read_via(path).items():
            for region in regions:
                if region.shape in ("circle", "ellipse") and region.artifact is not Artifact.RAYS:
                    shape = Shape(region.rows[0], region.columns[0], float(np.sqrt(np.prod(region.radii))))
                    drawn.setdefault(name, []).append((shape, path.stem))
    return {name: agreed(shapes) for name, shapes in drawn.items()}


def agreed(shapes: list[tuple[Shape, str]]) -> list[Shape]:
    """Group similar shapes of different annotators greedily; the median of each group."""
    left, groups = list(shapes), []
    while left:
        group = max((similar(seed, left) for seed, _ in left), key=len)
        left = [item for item in left if item not in group]
        if len(group) >= N_ANNOTATORS:
            middle = np.median([(s.row, s.column, s.radius) for s, _ in group], axis=0)
            groups.append(Shape(*map(float, middle), len(group)))
    return groups


def similar(seed: Shape, shapes: list[tuple[Shape, str]]) -> list[tuple[Shape, str]]:
    """The nearest similar shape of every annotator."""
    best: dict[str, tuple[float, Shape]] = {}
    for shape, who in shapes:
        gap = float(np.hypot(shape.row - seed.row, shape.column - seed.column))
        same = gap < SAME_CENTRE_PX and abs(np.log(shape.radius / seed.radius)) < SAME_RADIUS
        if same and (who not in best or gap < best[who][0]):
            best[who] = (gap, shape)
    return [(shape, who) for who, (_, shape) in best.items()]


class Model:
    """Outlines of all pairs on a grid of field angles and filter positions, in the star's frame, and off it."""

    def __init__(self) -> None:
        self.optics = GhostOptics.load()
        grid = [[self._outlines(angle, offset) for offset in OFFSETS_MM] for angle in ANGLES_DEG]
        self.table = np.array(grid)  # (angle, offset, pair, (along the star's direction, radius)), px

    def _outlines(self, angle: float, offset: float) -> list[tuple[float, float]]:
        """(distance of the centre from the axis towards the star, radius) of every pair; NaN where dark."""
        found = []
        for pair in PAIRS:
            outline = self.optics.outline(pair, Star(float(angle), 0.0, "g", float(offset)))
            if outline is None:
                found.append((np.nan, np.nan))
            else:
                found.append((outline.row - 200.0, float(np.sqrt(outline.major * outline.minor))))
        return found

    def outlines(self, angle: float, azimuth: float, offset: float) -> np.ndarray:
        """(pair, (row, column, radius)) of one star, px."""
        along = np.array(self._outlines(float(np.clip(angle, 0, 1.24)), offset))
        turn = np.deg2rad(azimuth)
        return np.stack([200 + along[:, 0] * np.cos(turn), 200 - along[:, 0] * np.sin(turn), along[:, 1]], axis=1)


def costs(shapes: np.ndarray, outlines: np.ndarray) -> np.ndarray:
    """Distance of every shape from every ghost, in centre and radius combined."""
    difference = shapes[..., :, None, :] - outlines[..., None, :, :]
    total = np.hypot(np.hypot(difference[..., 0], difference[..., 1]), difference[..., 2])
    return np.nan_to_num(total, nan=1e3)


def fit(model: Model, shapes: list[Shape]) -> dict:
    """Best-fitting field angle, azimuth and filter offset, with residuals."""
    wanted = np.array([(s.row, s.column, s.radius) for s in shapes])
    turn = np.deg2rad(AZIMUTHS_DEG)[:, None, None]
    scores = []
    for (a, _), (o, _) in product(enumerate(ANGLES_DEG), enumerate(OFFSETS_MM)):
        along, radius = model.table[a, o, :, 0], model.table[a, o, :, 1]
        outlines = np.stack(
            np.broadcast_arrays(200 + along * np.cos(turn)[..., 0], 200 - along * np.sin(turn)[..., 0], radius), axis=-1
        )
        scores.append(np.minimum(costs(wanted, outlines).min(axis=-1), CAP_PX).sum(axis=-1))
    order = np.argsort(np.array(scores), axis=None)
    starts: list[tuple[float, float, float]] = []
    for flat in order:
        state, azimuth = np.unravel_index(flat, (len(scores), len(AZIMUTHS_DEG)))
        a, o = divmod(int(state), len(OFFSETS_MM))
        start = (float(ANGLES_DEG[a]), float(AZIMUTHS_DEG[azimuth]), float(OFFSETS_MM[o]))
        if all(abs(start[0] - s[0]) > 0.05 or abs(start[1] - s[1]) > 8 or abs(start[2] - s[2]) > 40 for s in starts):
            starts.append(start)
        if len(starts) == N_STARTS:
            break

    def loss(x: np.ndarray) -> float:
        if not (0 <= x[0] <= 1.24 and -2 <= x[2] <= 0.5):
            return 1e6
        outlines = model.outlines(x[0], x[1] * 30, x[2] * 100)
        return float(np.minimum(costs(wanted, outlines).min(axis=-1), CAP_PX).sum())

    best = min(
        (
            minimize(
                loss, [s[0], s[1] / 30, s[2] / 100], method="Nelder-Mead",
                options={"xatol": 1e-4, "fatol": 1e-3, "maxiter": 250,
                         "initial_simplex": np.array([s[0], s[1] / 30, s[2] / 100])
                         + np.array([[0, 0, 0], [0.02, 0, 0], [0, 0.05, 0], [0, 0, 0.15]])},
            )
            for s in starts
        ),
        key=lambda result: result.fun,
    )  # fmt: skip
    angle, azimuth, offset = best.x[0], best.x[1] * 30 % 360, best.x[2] * 100
    outlines = model.outlines(angle, azimuth, offset)
    nearest = costs(wanted, outlines).argmin(axis=-1)
    residuals = wanted - outlines[nearest]
    return {
        "field_angle_deg": float(angle),
        "azimuth_deg": float(azimuth),
        "filter_offset_mm": float(offset),
        "mean_cost_px": float(best.fun / len(shapes)),
        "shapes": [
            {
                "pair": PAIRS[p],
                "centre_px": float(np.hypot(*d[:2])),
                "radius_px": float(abs(d[2])),
                "drawn_by": s.annotators,
            }
            for p, d, s in zip(nearest, residuals, shapes, strict=True)
        ],
    }


def turned(shapes: list[Shape], rng: np.random.Generator) -> list[Shape]:
    """Each shape rotated about the centre of the field by its own random angle."""
    out = []
    for shape in shapes:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = shape.row - 200, shape.column - 200
        out.append(Shape(
            200 + y * np.cos(angle) - x * np.sin(angle), 200 + y * np.sin(angle) + x * np.cos(angle), shape.radius,
            shape.annotators,
        ))  # fmt: skip
    return out


def summary(fits: list[dict]) -> dict:
    """Medians over all shapes of some fits."""
    shapes = [shape for fitted in fits for shape in fitted["shapes"]]
    centre, radius = (np.array([shape[key] for shape in shapes]) for key in ("centre_px", "radius_px"))
    return {
        "n_exposures": len(fits),
        "n_shapes": len(shapes),
        "median_centre_px": round(float(np.median(centre)), 2),
        "median_radius_px": round(float(np.median(radius)), 2),
        "share_within_6_px": round(float(np.mean((centre < NEAR_PX) & (radius < NEAR_PX))), 3),
        "share_within_3_px": round(float(np.mean((centre < 3) & (radius < 3))), 3),
    }


def draw(
    results: dict[str, dict], shapes: dict[str, list[Shape]], optics: GhostOptics, images: Path | None, out: Path
) -> None:
    """Plot the four best and four worst: annotated outlines in yellow, ray-traced in red, on the exposures or CCDs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    many = [name for name in results if len(shapes[name]) >= 3]  # a single shape always fits
    ranked = sorted(many, key=lambda name: results[name]["mean_cost_px"])
    chosen = ranked[:4] + ranked[-4:]
    lit = Camera.decam().labels > 0
    figure, axes = pyplot.subplots(2, 4, figsize=(20, 10.4))
    turn = np.linspace(0, 2 * np.pi, 100)
    for axis, name in zip(axes.ravel(), chosen, strict=True):
        fitted = results[name]
        ground = 60.0 * lit if images is None else np.asarray(Image.open(images / name).convert("L"))
        axis.imshow(ground, cmap="gray", vmin=0, vmax=140)
        for shape in shapes[name]:
            columns, rows = (c + shape.radius * f(turn) for c, f in ((shape.column, np.cos), (shape.row, np.sin)))
            axis.plot(columns, rows, color="gold", lw=1.2)
        star = Star(fitted["field_angle_deg"], fitted["azimuth_deg"], "g", fitted["filter_offset_mm"])
        geometry = StarGeometry.of(star.field_angle_deg, star.azimuth_deg, (400, 400), None)
        for pair in {shape["pair"] for shape in fitted["shapes"]}:
            map_ = optics.bank.ghost_map(
                pair, star.field_angle_deg, optics.bank.mix_of_band("g"), star.filter_offset_mm
            )
            rows, columns = geometry.rim(map_)
            axis.plot(np.append(columns, columns[0]), np.append(rows, rows[0]), color="red", lw=0.9)
        row, column = Camera.decam().to_pixel(*optics.star_mm(star))
        axis.plot(column, row, "c+", ms=10)
        axis.set(xlim=(0, 400), ylim=(400, 0), xticks=[], yticks=[])
        axis.set_title(
            f"{name[10:-4]}: {len(fitted['shapes'])} shapes, {fitted['mean_cost_px']:.1f} px; star at "
            f"{fitted['field_angle_deg']:.2f}°, filter {fitted['filter_offset_mm']:.0f} mm", fontsize=10,
        )  # fmt: skip
    figure.suptitle(
        "Annotated (yellow; ellipses as circles of equal area), ray-traced (red), star +; best above, worst below"
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98), h_pad=2.0)
    figure.savefig(out, dpi=60)
    Image.open(out).convert("P", palette=Image.Palette.ADAPTIVE, colors=48).save(out, optimize=True)  # a third the size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--on-images", action="store_true", help="Plot on the real exposures; not to be committed.")
    parser.add_argument("--min-shapes", type=int, default=1, help="Minimum number of shapes of an exposure.")
    options = parser.parse_args()
    root = Path(os.environ.get("CASCADE_DATA", Path(__file__).parents[1] / "../shared/data")) / "des_common_core"
    shapes = {name: found for name, found in drawn_shapes(root / "annotations").items()
              if len(found) >= options.min_shapes and (root / "images" / name).exists()}  # fmt: skip
    model, rng = Model(), np.random.default_rng(1)
    results = {name: fit(model, found) for name, found in sorted(shapes.items())}
    nulls = {name: [fit(model, turned(found, rng)) for _ in range(N_NULLS)] for name, found in sorted(shapes.items())}
    report = {"all": {}, "command": "python benchmarks/optics_geometry.py", "exposures": results}
    for label, least in (("all", options.min_shapes), ("3 or more shapes", 3)):
        names = [name for name in results if len(shapes[name]) >= least]
        report[label] = {
            "fitted": summary([results[name] for name in names]),
            "null": summary([null for name in names for null in nulls[name]]),
        }
    (options.out / "optics_geometry.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(
        results,
        shapes,
        model.optics,
        root / "images" if options.on_images else None,
        options.out / "optics_geometry.png",
    )
    print(json.dumps({key: report[key] for key in report if key != "exposures"}, indent=1))


if __name__ == "__main__":
    main()
