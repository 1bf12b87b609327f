"""
Trace the ghosts of DECam with batoid and write them as polynomials: ``python -m cascade.optics.build_bank``.

Needs the extra ``optics``; nothing else of the package does. Takes about half a minute on one core.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.core.data_files import write_npz
from cascade.optics.bank import BANK_FILE, SURFACES, pair_surfaces
from cascade.optics.polynomial import DEGREE, EVEN, ODD, powers_matrix
from cascade.optics.pupil import PUPIL_RADIUS_M, PUPIL_Z_M, open_area_m2

Floats = npt.NDArray[np.float64]

TELESCOPE = "DECam.yaml"
PAIRS = (
    "D>C5_exit", "D>C5_entrance", "D>C4_entrance", "C5_exit>C5_entrance", "D>C4_exit", "D>C3_entrance", "D>C3_exit",
    "D>Filter_exit", "D>Filter_entrance", "D>C2_entrance", "D>C2_exit", "Filter_exit>Filter_entrance",
    "C4_exit>Filter_exit", "C4_exit>Filter_entrance", "C5_exit>C4_entrance", "C4_exit>C2_exit", "C4_entrance>C3_exit",
    "C4_exit>C3_entrance", "C4_exit>C4_entrance", "C5_entrance>C4_entrance", "Filter_exit>C2_exit",
    "C5_entrance>C3_entrance", "C4_entrance>Filter_entrance", "C4_entrance>Filter_exit", "C5_entrance>C4_exit",
    "C5_exit>C4_exit",
)  # fmt: skip
"""The pairs brighter than 26 mag/arcsec2 somewhere in the field for a star of magnitude 0, of all 78."""

ANGLES_DEG = np.round(np.concatenate([np.arange(0, 0.76, 0.05), np.arange(0.775, 1.51, 0.025)]), 3)
"""Closer towards the edge of the field, where D>C4_entrance folds."""

WAVELENGTHS_NM = (380.0, 990.0)
FILTER_OFFSETS_MM = (-200.0, -150.0, -100.0, -50.0, 0.0, 50.0)
N_STOPS = 4
"""Most passages through a lens whose edge is kept for a pair."""

_GRID = 41
_HALF_M = 2.3  # beyond the pupil's rim, so that the fits do not oscillate there
_START_M = 15.0  # batoid's default starting distance
_MARGIN = 1.08  # rays up to this far beyond an edge are still fitted
_MM_PER_PX = 1 / 0.9463
_ROUND_TRIP_PX = 0.3


@dataclass(frozen=True, slots=True)
class Trace:
    """Rays of one path: positions on the detector in mm, squared heights at lens edges in units of the clear radius."""

    x: Floats
    y: Floats
    stops: Floats  # (passage, ray)


def pupil_grid() -> tuple[Floats, Floats]:
    """Points of the pupil, in m, that are traced."""
    side = np.linspace(-_HALF_M, _HALF_M, _GRID)
    x, y = np.meshgrid(side, side)
    return x.ravel(), y.ravel()


def passages(pair: str) -> list[tuple[str, str]]:
    """Light path of a pair: surfaces in order, each passed forward, in reverse or reflected."""
    first, second = pair_surfaces(pair)
    far, near = SURFACES.index(first), SURFACES.index(second)
    path = [(name, "forward") for name in SURFACES[:far]] + [(first, "reflected")]
    path += [(name, "reverse") for name in reversed(SURFACES[near + 1 : far])] + [(second, "reflected")]
    return path + [(name, "forward") for name in SURFACES[near + 1 :]]


def trace(
    telescope: Any,  # noqa: ANN401
    path: Sequence[tuple[str, str]],
    angle_deg: float,
    wavelength_nm: float,
) -> Trace:
    """Trace parallel rays along one path, without vignetting."""
    import batoid

    px, py = pupil_grid()
    angle = np.deg2rad(angle_deg)
    back = _START_M - PUPIL_Z_M
    n = px.size
    rays = batoid.RayVector(
        px - np.tan(angle) * back, py.copy(), np.full(n, _START_M),
        np.full(n, np.sin(angle)), np.zeros(n), np.full(n, -np.cos(angle)), 0.0, wavelength_nm * 1e-9, 1.0,
    )  # fmt: skip
    stops = []
    for name, how in [("PM", "forward"), *path]:
        optic = telescope[name]
        if how == "reflected":
            optic.surface.reflect(rays, coordSys=optic.coordSys)
        else:
            obscuration, optic.obscuration = optic.obscuration, None
            optic.trace(rays, reverse=how == "reverse")
            optic.obscuration = obscuration
        if name not in ("D", "PM"):
            stops.append((rays.x**2 + rays.y**2) / telescope[name].obscuration.original.radius ** 2)
    lost = rays.failed | ~np.isfinite(rays.x)
    edges = np.array(stops, np.float64)
    edges[lost | ~np.isfinite(edges)] = 81.0
    return Trace(np.where(lost, 0, rays.x) * 1e3, np.where(lost, 0, rays.y) * 1e3, edges)


def _fit(basis: Floats, values: Floats, good: npt.NDArray[np.bool_]) -> Floats:
    """Least-squares coefficients over the good points."""
    return np.asarray(np.linalg.lstsq(basis[good], values[good], rcond=None)[0], np.float64)


def _choose_stops(traces: Sequence[Trace]) -> list[int]:
    """Greedy choice of the lens passages of a pair that vignette most, over all angles."""
    px, py = pupil_grid()
    inside = np.hypot(px, py) < PUPIL_RADIUS_M
    left = [inside & (trace.stops.max(axis=0) < 81) for trace in traces]
    chosen: list[int] = []
    while len(chosen) < N_STOPS:
        cut = sum((trace.stops[:, rays] > 1).sum(axis=1) for trace, rays in zip(traces, left, strict=True))
        if cut.max() == 0:
            break
        chosen.append(int(cut.argmax()))
        left = [rays & (trace.stops[chosen[-1]] <= 1) for trace, rays in zip(traces, left, strict=True)]
    return chosen


def _state(trace: Trace, stops: Sequence[int]) -> dict[str, Floats]:
    """Polynomials of one pair at one angle, wavelength and filter position."""
    px, py = pupil_grid()
    radius = np.hypot(px, py)
    lit = (radius < PUPIL_RADIUS_M) & (trace.stops.max(axis=0) < 1)
    good = (radius < 1.05 * PUPIL_RADIUS_M) & (trace.stops.max(axis=0) < _MARGIN**2)
    out = {
        "forward": np.zeros(len(EVEN) + len(ODD)),
        "inverse": np.zeros(len(EVEN) + len(ODD)),
        "box": np.array([0.0, 1.0, 1.0]),
        "stops_pupil": np.zeros((N_STOPS, len(EVEN))),
        "stops_plane": np.zeros((N_STOPS, len(EVEN))),
        "facts": np.zeros(3),  # unvignetted fraction of the pupil, typical |d pupil / d plane| in m2/mm2, invertible
    }
    if lit.sum() < 8 or good.sum() < 60:
        return out
    even, odd = (powers_matrix(px / 2, py / 2, terms) for terms in (EVEN, ODD))
    forward = np.concatenate([_fit(even, trace.x, good), _fit(odd, trace.y, good)])
    x, y = even @ forward[: len(EVEN)], odd @ forward[len(EVEN) :]
    near = good | (radius < 1.05 * PUPIL_RADIUS_M)  # vignetted rays are replaced by the smooth extrapolation
    near &= np.hypot(x - trace.x[lit].mean(), y) < 4 * max(np.ptp(trace.x[lit]), np.ptp(trace.y[lit]))
    box = np.array([(x[near].max() + x[near].min()) / 2, np.ptp(x[near]) / 2, np.abs(y[near]).max()])
    plane_even, plane_odd = (powers_matrix((x - box[0]) / box[1], y / box[2], terms) for terms in (EVEN, ODD))
    inverse = np.concatenate([_fit(plane_even, px, near), _fit(plane_odd, py, near)])
    out |= {"forward": forward, "inverse": inverse, "box": box}
    usable = (radius < 1.2 * PUPIL_RADIUS_M) & (trace.stops.max(axis=0) < 1.6**2)
    for slot, stop in enumerate(stops):
        out["stops_pupil"][slot] = _fit(even, trace.stops[stop], usable)
        out["stops_plane"][slot] = _fit(plane_even, trace.stops[stop], usable)
    step = (2 * _HALF_M / (_GRID - 1)) ** 2
    shape = (_GRID, _GRID)
    xr, xc = np.gradient(x.reshape(shape))
    yr, yc = np.gradient(y.reshape(shape))
    density: Floats = step / np.maximum(np.abs(xc * yr - xr * yc).ravel(), 1e-9)
    share = lit.sum() / (radius < PUPIL_RADIUS_M).sum()
    out["facts"] = np.array([share, np.percentile(density[lit], 75), _is_invertible(out)])
    return out


def _is_invertible(state: dict[str, Floats]) -> float:
    """1 if the inverse is accurate wherever it maps into the pupil, even in the corners around the ghost."""
    side = np.linspace(-1.5, 1.5, 61)
    u, v = (a.ravel() for a in np.meshgrid(side, side))
    px = powers_matrix(u, v, EVEN) @ state["inverse"][: len(EVEN)]
    py = powers_matrix(u, v, ODD) @ state["inverse"][len(EVEN) :]
    inside = np.hypot(px, py) < PUPIL_RADIUS_M
    x = powers_matrix(px / 2, py / 2, EVEN) @ state["forward"][: len(EVEN)]
    y = powers_matrix(px / 2, py / 2, ODD) @ state["forward"][len(EVEN) :]
    x0, half_x, half_y = state["box"]
    error = np.hypot(x - x0 - u * half_x, y - v * half_y)[inside] / _MM_PER_PX
    # A squeezed or tiny ghost would get edges that are too soft.
    squeezed = min(half_x, half_y) < max(0.35 * max(half_x, half_y), 6 * _MM_PER_PX)
    return float(error.size > 0 and error.max() < _ROUND_TRIP_PX and not squeezed)


def build(telescope: Any) -> dict[str, npt.NDArray[Any]]:  # noqa: ANN401
    """All arrays of the bank."""
    rows: list[tuple[int, float]] = []
    states: list[list[list[dict[str, Floats]]]] = []
    for number, pair in enumerate(PAIRS):
        path = passages(pair)
        for offset in FILTER_OFFSETS_MM if "Filter" in pair else (0.0,):
            shifted = telescope.withLocallyShiftedOptic("BlancoDECam.DECam.Filter", [0, 0, offset * 1e-3])
            traces = [[trace(shifted, path, angle, wl) for angle in ANGLES_DEG] for wl in WAVELENGTHS_NM]
            stops = _choose_stops([t for row in traces for t in row])
            states.append([[_state(t, stops) for t in row] for row in traces])
            rows.append((number, offset))
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.array([[[s[name] for s in by_angle] for by_angle in row] for row in states], np.float32)
        for name in states[0][0][0]
    }
    arrays["row_pair"] = np.array([number for number, _ in rows], np.int16)
    arrays["row_offset_mm"] = np.array([offset for _, offset in rows], np.float32)
    arrays["star_radius_mm"] = np.array(
        [[_star_radius(telescope, angle, wl) for angle in ANGLES_DEG] for wl in WAVELENGTHS_NM], np.float64
    )
    return arrays


def _star_radius(telescope: Any, angle_deg: float, wavelength_nm: float) -> float:  # noqa: ANN401
    """Mean position of the star's direct image, mm from the axis."""
    px, py = pupil_grid()
    inside = (np.hypot(px, py) < PUPIL_RADIUS_M) & (np.hypot(px, py) > 0.8)
    image = trace(telescope, [(name, "forward") for name in SURFACES], angle_deg, wavelength_nm)
    return float(image.x[inside].mean())


def main() -> None:
    """Build the bank and write it into the package."""
    import batoid

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name(BANK_FILE))
    out = parser.parse_args().out
    telescope = batoid.Optic.fromYaml(TELESCOPE)
    glass = telescope["C1_entrance"].outMedium
    source = Path(batoid.__file__).parent / "data" / "DECam" / TELESCOPE
    arrays = build(telescope)
    description = {
        "format": "ghost-cascade optics bank",
        "format_version": 1,
        "made_by": "python -m cascade.optics.build_bank",
        "batoid": batoid.__version__,
        "telescope": TELESCOPE,
        "telescope_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "pairs": PAIRS,
        "degree": DEGREE,
        "angles_deg": ANGLES_DEG.tolist(),
        "wavelengths_nm": WAVELENGTHS_NM,
        "refractive_indices": [glass.getN(wl * 1e-9) for wl in WAVELENGTHS_NM],
        "band_indices": {band: glass.getN(wl * 1e-9) for band, wl in BAND_WAVELENGTHS_NM.items()},
        "pupil_points": _GRID**2,
        "open_area_m2": open_area_m2(),
    }
    write_npz(out, arrays, description)


BAND_WAVELENGTHS_NM = {"u": 380.0, "g": 480.0, "r": 640.0, "i": 780.0, "z": 920.0, "Y": 990.0, "VR": 625.0}
"""Effective wavelengths of the DECam filters."""

if __name__ == "__main__":
    main()
