"""Seasons of synthetic exposures, each determined by the seed and its index alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import numpy as np

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError
from cascade.core.exposure import UInt8Array
from cascade.simulate.conditions import Ranges
from cascade.simulate.synthetic_exposure import Kind, SimulatedExposure, Simulator

FIRST_EXPNUM = 900001
"""Exposure number of the first synthetic exposure; no DECam exposure of a survey has it."""

# Of the annotated DES images 1025 show ghosts alone, 646 Rays alone and 298 both.
_KINDS: tuple[tuple[Kind, Kind, Kind], tuple[float, float, float]] = (("ghosts", "rays", "both"), (0.52, 0.33, 0.15))
_TRIES = 40


@dataclass(frozen=True, slots=True)
class Season:
    """
    A season to draw.

    Attributes
    ----------
    n_exposures
        Their number.
    ghosted_share
        Fraction of exposures with artifacts, in [0, 1]; rounded to whole exposures, spread evenly.
    seed
        The same seed draws the same season.
    first_expnum
        Exposure number of the first.
    ranges
        Parameter ranges of the simulator.

    Raises
    ------
    ConfigError
        If a number is negative or the fraction is outside [0, 1].
    """

    n_exposures: int
    ghosted_share: float
    seed: int
    first_expnum: int = FIRST_EXPNUM
    ranges: Ranges = field(default_factory=Ranges)

    def __post_init__(self) -> None:
        if self.n_exposures < 0 or self.seed < 0:
            msg = f"season: expected a number of exposures and a seed of 0 or more, got {self.n_exposures}, {self.seed}"
            raise ConfigError(msg)
        if not 0 <= self.ghosted_share <= 1:
            msg = f"ghosted share: expected a fraction in [0, 1], got {self.ghosted_share}"
            raise ConfigError(msg)

    @property
    def description(self) -> dict[str, Any]:
        """What determines the season, for JSON."""
        return asdict(self)

    def ghosted(self, n: int) -> bool:
        """Whether exposure n has an artifact."""
        n_ghosted = round(self.n_exposures * self.ghosted_share)
        return (n + 1) * n_ghosted // self.n_exposures > n * n_ghosted // self.n_exposures

    def draw(self, n: int, simulator: Simulator) -> SimulatedExposure:
        """Draw exposure n with a simulator of the same ranges; independent of earlier draws."""
        rng = np.random.default_rng([self.seed, n])
        kind: Kind = "clean"
        if self.ghosted(n):
            kind = _KINDS[0][int(rng.choice(3, p=_KINDS[1]))]
        for _ in range(_TRIES):
            exposure = simulator.draw(kind, rng, expnum=self.first_expnum + n)
            if bool(exposure.labels) == (kind != "clean"):
                return exposure
        msg = f"exposure {n} of seed {self.seed}: no {kind} exposure after {_TRIES} tries"
        raise ConfigError(msg)


def simulate_season(
    n_exposures: int, camera: Camera, *, ghosted_share: float, seed: int, first_expnum: int = FIRST_EXPNUM
) -> Iterator[SimulatedExposure]:
    """
    Draw exposures one after the other.

    Parameters
    ----------
    n_exposures : int
    camera : Camera
        On a 400x400 grid.
    ghosted_share, seed, first_expnum
        See `Season`.

    Yields
    ------
    SimulatedExposure
    """
    season = Season(n_exposures, ghosted_share, seed, first_expnum)
    simulator = _simulator(camera)
    for n in range(n_exposures):
        yield season.draw(n, simulator)


def simulate_exposure(artifacts: tuple[Artifact, ...], camera: Camera, rng: np.random.Generator) -> UInt8Array:
    """
    Draw one exposure with artifacts of at least the given classes.

    Parameters
    ----------
    artifacts : tuple of Artifact
        Empty: a clean exposure.
    camera : Camera
        On a 400x400 grid.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of uint8, shape (400, 400)

    Raises
    ------
    ConfigError
        If no draw within the tries has these classes.
    """
    ghosts, rays = set(artifacts) - {Artifact.RAYS}, Artifact.RAYS in artifacts
    kind: Kind = ("both" if rays else "ghosts") if ghosts else ("rays" if rays else "clean")
    simulator = _simulator(camera)
    for _ in range(_TRIES):
        exposure = simulator.draw(kind, rng)
        if set(artifacts) <= set(exposure.artifacts) and bool(artifacts) == bool(exposure.labels):
            return exposure.image
    msg = f"no exposure with {', '.join(artifact.label for artifact in artifacts)} after {_TRIES} tries"
    raise ConfigError(msg)


@cache
def _simulator(camera: Camera) -> Simulator:
    """The simulator of a camera, cached per process."""
    return Simulator(camera)
