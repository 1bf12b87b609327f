"""
Draw what the laws of the sky say: ``python benchmarks/sky_laws.py``, a minute, after ``python -m cascade.sky.fitting``.

Left: probability that people draw a ghost, by magnitude of a star half a degree from the axis. Middle: highest
probability of Rays on any CCD, by field angle and magnitude of a lone star, before and after the baffles were painted.
Right: what the probabilities mean on nights that the laws were not fitted to. Writes ``docs/sky_laws.png``.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from cascade.optics.bank import OpticsBank
from cascade.sky.ghosts import FAMILIES, possible_ghosts
from cascade.sky.laws import SkyLaws
from cascade.sky.nearby import NearbyStars
from cascade.sky.pointing import Pointing

Floats = npt.NDArray[np.float64]

RESULTS = Path(__file__).parent / "results/sky_laws.json"
OUT = Path(__file__).parents[1] / "docs/sky_laws.png"
MAGNITUDES = np.arange(-1.0, 6.0, 0.25)
ANGLES = np.arange(1.16, 1.86, 0.03)
PAINTED = 56730.0  # 2014-03-14
SHOWN = ("D>Filter", "D>C4_entrance", "C5_exit>C5_entrance", "D>C4_exit", "D>C3_entrance")


def lone_star(band: str, mjd: float, angle: float, azimuth: float, magnitude: float) -> NearbyStars:
    """One star around a pointing."""
    place = (np.array([value]) for value in (angle, azimuth, magnitude))
    return NearbyStars(Pointing(0.0, 0.0, band, mjd), np.zeros(1, np.intp), *place)


def drawn(laws: SkyLaws, bank: OpticsBank, band: str) -> dict[str, Floats]:
    """By family, the probability at each magnitude; mean of six azimuths."""
    found = {name: np.zeros(len(MAGNITUDES)) for name in FAMILIES}
    azimuths = np.arange(10, 370, 60.0)
    for n, magnitude in enumerate(MAGNITUDES):
        for azimuth in azimuths:
            ghosts = possible_ghosts(lone_star(band, 57000.0, 0.5, azimuth, magnitude), bank)
            for family, probability in zip(ghosts.family, laws.ghosts.drawn.probability(ghosts.features), strict=True):
                found[list(FAMILIES)[family]][n] += probability / len(azimuths)
    return found


def rays(laws: SkyLaws, mjd: float) -> Floats:
    """(magnitudes, angles) highest probability of Rays on a CCD; mean of four azimuths."""
    azimuths = np.arange(20, 380, 90.0)
    return np.array(
        [
            [
                np.mean([laws.rays.probabilities(lone_star("i", mjd, a, z, m))[0].max() for z in azimuths])
                for a in ANGLES
            ]
            for m in MAGNITUDES
        ]
    )


def main() -> None:
    """Draw the figure."""
    laws, bank = SkyLaws.load(), OpticsBank.load()
    told = json.loads(RESULTS.read_text())
    figure, axes = plt.subplots(1, 4, figsize=(17, 4.2), layout="constrained")
    for band, line in (("g", "-"), ("i", "--")):
        for colour, name in enumerate(SHOWN):
            label = name if band == "g" else None
            axes[0].plot(MAGNITUDES, drawn(laws, bank, band)[name], line, color=f"C{colour}", label=label)
    axes[0].set(xlabel="AB magnitude of the star", ylabel="probability that people draw the ghost", ylim=(0, 1))
    axes[0].legend(title="g (solid), i (dashed)", fontsize=8)
    extent = (ANGLES[0], ANGLES[-1], MAGNITUDES[-1], MAGNITUDES[0])
    for ax, mjd, title in ((axes[1], PAINTED - 300, "before"), (axes[2], PAINTED + 600, "after")):
        shown = ax.imshow(rays(laws, mjd), vmin=0, vmax=1, aspect="auto", extent=extent, cmap="viridis")
        ax.set(
            xlabel="field angle of the star, degrees",
            ylabel="magnitude",
            title=f"Rays {title} the painting (2014-03-14)",
        )
    figure.colorbar(shown, ax=axes[2], label="highest probability of Rays on a CCD")
    for what, bins in told["reliability"].items():
        numbers, mean, share = np.array(bins).T
        error = np.sqrt(share * (1 - share) / numbers)
        axes[3].errorbar(mean, share, error, fmt="o-", label=what, markersize=4)
    axes[3].plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes[3].set(xlabel="predicted probability", ylabel="share that people marked", xlim=(0, 1), ylim=(0, 1))
    axes[3].legend(fontsize=8)
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main()
