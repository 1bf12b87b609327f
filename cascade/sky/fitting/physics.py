"""
The law with named parameters: reflectivities of DECam's surfaces by band, from which ghosts people draw.

A ghost's surface brightness over the sky's is known from star, optics and dark sky but for the reflectivities of its
two surfaces. That people draw it is taken to follow a logistic function of the logarithm of this contrast, and of the
size of the outline. The logarithms of all reflectivities together with the contrast at which half of the ghosts are
drawn have one free constant, which the data cannot tell: `HALF_DRAWN_CONTRAST` fixes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from cascade.camera import Camera
from cascade.optics.bank import pair_surfaces
from cascade.optics.pupil import open_area_m2
from cascade.sky.brightness import PIXEL_ARCSEC2
from cascade.sky.fitting.annotated import Annotated
from cascade.sky.ghosts import FAMILIES, GHOST_FEATURES

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HALF_DRAWN_CONTRAST = 0.01
"""Surface brightness over the sky's of a ghost of 50 px radius that half of the people draw (assumed)."""

BANDS = ("g", "r", "i", "z", "Y")

_RADIUS_PX = 50.0
_DEVIATION = 0.3  # prior width of a band's deviation from what surface and band give, over that of these
_BOOTSTRAPS = 100
_SURFACES = ("D", "C5_exit", "C5_entrance", "C4_entrance", "C4_exit", "C3_entrance", "C3_exit", "Filter")


@dataclass(frozen=True, eq=False)
class VisibilityLaw:
    """
    Probability that people draw a ghost, by contrast.

    Attributes
    ----------
    slope
        Of the log-odds with the decimal logarithm of the contrast.
    size_exponent
        Of the outline's radius: contrast * radius ** exponent decides.
    reflectivity
        (8, 5) by surface and band, see `table`.
    """

    slope: float
    size_exponent: float
    reflectivity: Floats

    def table(self) -> dict[str, dict[str, float]]:
        """Reflectivities by surface and band."""
        return {
            surface: dict(zip(BANDS, map(float, row), strict=True))
            for surface, row in zip(_SURFACES, self.reflectivity, strict=True)
        }


def design(exposures: Sequence[Annotated]) -> Floats:
    """Rows of the linear model of the log-odds: contrast, size, surfaces, bands of glass, and surfaces by band."""
    features = np.concatenate([one.ghosts.features for one in exposures])
    column = dict(zip(GHOST_FEATURES, features.T, strict=True))
    x, y = Camera.decam().to_mm([0.0, 1.0], [0.0, 1.0])
    pixel_mm2 = abs((x[1] - x[0]) * (y[1] - y[0]))
    contrast = column["log_contrast"] + np.log10(pixel_mm2 / open_area_m2() / PIXEL_ARCSEC2)
    whole = np.exp(column["log_area"]) / np.maximum(column["share_on_preview"], 1e-3)
    size = np.log10(np.sqrt(whole / np.pi) / _RADIUS_PX)
    surfaces = np.zeros((len(FAMILIES), len(_SURFACES)))
    for family, pairs in enumerate(FAMILIES.values()):
        for name in pair_surfaces(pairs[0]):
            surfaces[family, _SURFACES.index("Filter" if name.startswith("Filter") else name)] += 1
    hit = surfaces[column["family"].astype(int)]
    band = np.eye(len(BANDS))[column["band"].astype(int)]
    glass = hit[:, 1:].sum(axis=1, keepdims=True) * band
    both = (hit[:, :, None] * band[:, None, :]).reshape(len(hit), -1)
    return np.column_stack([contrast - np.log10(HALF_DRAWN_CONTRAST), size, hit, glass, both * _DEVIATION])


def fit_visibility(rows: Floats, drawn: Bools) -> VisibilityLaw:
    """Fit the law to rows of `design`."""
    model = LogisticRegression(C=10.0, fit_intercept=False, max_iter=2000).fit(rows, drawn)
    slope, size, *rest = model.coef_[0]
    n_surfaces, n_bands = len(_SURFACES), len(BANDS)
    mean, glass = np.array(rest[:n_surfaces]), np.array(rest[n_surfaces : n_surfaces + n_bands])
    deviations = np.array(rest[n_surfaces + n_bands :]).reshape(n_surfaces, n_bands) * _DEVIATION
    logarithms = mean[:, None] + deviations
    logarithms[1:] += glass
    return VisibilityLaw(float(slope), float(size / slope), 10 ** (logarithms / slope))


def with_intervals(
    exposures: Sequence[Annotated], drawn: Sequence[Bools]
) -> dict[str, list[float] | dict[str, dict[str, list[float]]]]:
    """The law's parameters with their 95 % intervals, from draws of nights with replacement."""
    by_night: dict[int, list[tuple[Floats, Bools]]] = {}
    for exposure, its in zip(exposures, drawn, strict=True):
        if len(its):
            by_night.setdefault(exposure.night, []).append((design([exposure]), its))
    nights, rng = list(by_night), np.random.default_rng(0)

    def fitted(chosen: Sequence[int] | npt.NDArray[np.int64]) -> VisibilityLaw:
        pairs = [pair for night in chosen for pair in by_night[int(night)]]
        return fit_visibility(np.concatenate([rows for rows, _ in pairs]), np.concatenate([its for _, its in pairs]))

    law = fitted(nights)
    draws = [fitted(rng.choice(nights, len(nights))) for _ in range(_BOOTSTRAPS)]

    def interval(value: float, drawn_values: Sequence[float]) -> list[float]:
        return [float(f"{number:.3g}") for number in (value, *np.quantile(drawn_values, (0.025, 0.975)))]

    return {
        "slope": interval(law.slope, [one.slope for one in draws]),
        "size_exponent": interval(law.size_exponent, [one.size_exponent for one in draws]),
        "reflectivity": {
            surface: {
                band: interval(law.reflectivity[s, b], [one.reflectivity[s, b] for one in draws])
                for b, band in enumerate(BANDS)
            }
            for s, surface in enumerate(_SURFACES)
        },
    }
