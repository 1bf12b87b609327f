"""
Seasons with a sky: real stars around pointings, and the fitted laws of which ghosts and Rays people see.

**Who decides what is labelled.** The laws, not the rendered light: they were fitted to what people draw, by magnitude,
band, date, place and surfaces, whereas the simulator's brightness rests on reflectivities that nobody has published.
Ghosts that the laws let people draw are then made plain enough to be seen and all others too weak for it
(`cascade.simulate.ghosts.place_ghosts`), so that labels are also what is visible in the pixels.

**One draw a star.** A number u, even in (0, 1), is drawn for the ghosts of each star and one for its Rays; what has a
probability above u is seen. Every ghost and CCD thus keeps its probability, and a star's weaker ghosts are seen only
where its plainer ones are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError
from cascade.optics.bank import OpticsBank
from cascade.simulate.conditions import conditions_of
from cascade.simulate.ghosts import PlacedStar, place_ghosts
from cascade.simulate.rays import Throw
from cascade.simulate.survey import Observation, Survey, WideSurvey
from cascade.simulate.synthetic_exposure import SimulatedExposure, Simulator
from cascade.simulate.synthetic_season import Season
from cascade.sky.catalogue import BrightStars
from cascade.sky.filter_slots import filter_offset_mm
from cascade.sky.forecast import Forecast, forecast
from cascade.sky.ghosts import FAMILIES, GHOST_RADIUS_DEG
from cascade.sky.laws import Levels, SkyLaws

_TRIES = 40  # renderings of one exposure
_MAX_POINTINGS = 4000  # looked at for one exposure
# Size of beams that reach n CCDs, see `Throw`: so chosen that labels cover 5 % of n, one to ten.
_SIZE_OF_ONE_CCD = 0.42
_SIZE_POWER = 0.58
_AZIMUTH_SCATTER_DEG = 4.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """
    What people see of the sky in one exposure.

    Attributes
    ----------
    observation
        Where it looks and when.
    stars
        Those that are rendered, with the ghosts that people draw.
    throws
        Of each star that throws Rays.
    """

    observation: Observation
    stars: tuple[PlacedStar, ...]
    throws: tuple[Throw, ...]

    @property
    def ghosted(self) -> bool:
        """Whether people see anything."""
        return bool(self.throws) or any(star.drawn for star in self.stars)


def draw_outcome(observation: Observation, expected: Forecast, levels: Levels, rng: np.random.Generator) -> Outcome:
    """Let chance decide what people see of a forecast, see the module's docstring; each in its likelier class."""
    nearby, ghosts, families = expected.nearby, expected.ghosts, list(FAMILIES.values())
    hips = BrightStars.load().hip[nearby.index]
    stars = []
    for row in np.flatnonzero(nearby.angles_deg < GHOST_RADIUS_DEG):
        seen = np.flatnonzero((ghosts.star == row) & (expected.drawn > rng.random()))
        drawn = {
            pair: Artifact.BRIGHT if expected.bright[ghost] > levels.bright else Artifact.FAINT
            for ghost in seen
            for pair in families[ghosts.family[ghost]]
        }
        place = float(nearby.angles_deg[row]), float(nearby.azimuths_deg[row])
        stars.append(PlacedStar(int(hips[row]), *place, float(nearby.magnitudes[row]), drawn))
    throws = []
    for row in np.unique(expected.rays_star[expected.rays_star >= 0]):
        reached = (expected.rays_star == row) & (expected.rays > rng.random())
        if reached.any():
            throws.append(_throw(reached, rng))
    return Outcome(observation, tuple(stars), tuple(throws))


def _throw(reached: npt.NDArray[np.bool_], rng: np.random.Generator) -> Throw:
    """Beams onto some of the 62 CCDs."""
    azimuths = np.deg2rad(_ccd_azimuths_deg()[reached])
    middle = np.arctan2(np.sin(azimuths).sum(), np.cos(azimuths).sum())
    azimuth = float(np.rad2deg(middle) + rng.normal(0, _AZIMUTH_SCATTER_DEG))
    return Throw(azimuth, _SIZE_OF_ONE_CCD * float(np.count_nonzero(reached)) ** _SIZE_POWER)


@cache
def _ccd_azimuths_deg() -> npt.NDArray[np.float64]:
    """(62,) direction of each CCD from the middle of the focal plane."""
    return np.array([np.rad2deg(np.arctan2(ccd.y_mm, ccd.x_mm)) for ccd in Camera.decam().ccds])


@dataclass(frozen=True, slots=True)
class SkySeason(Season):
    """
    A season whose exposures look somewhere.

    Ghosted and clean exposures are drawn from the survey until their number is that of `ghosted_share`: each is where
    and when the laws expect such exposures.

    Attributes
    ----------
    survey
        What exposures are drawn from; by default one like DES.
    """

    survey: Survey = field(kw_only=True)

    @classmethod
    def like_des(cls, n_exposures: int, ghosted_share: float, seed: int) -> SkySeason:
        """A season of a survey like DES."""
        return cls(n_exposures, ghosted_share, seed, survey=WideSurvey(n_exposures, seed))

    @property
    def description(self) -> dict[str, Any]:
        """What determines the season, for JSON."""
        return {
            "n_exposures": self.n_exposures,
            "ghosted_share": self.ghosted_share,
            "seed": self.seed,
            "first_expnum": self.first_expnum,
            "sky": self.survey.description,
        }

    def draw(self, n: int, simulator: Simulator) -> SimulatedExposure:
        """
        Draw exposure n; independent of earlier draws.

        Raises
        ------
        ConfigError
            If the survey has no such exposure.
        """
        rng = np.random.default_rng([self.seed, n])
        for _ in range(_TRIES):
            outcome = self._outcome(n, simulator.optics.bank, rng)
            pointing = outcome.observation.pointing
            offset = filter_offset_mm(pointing.band, pointing.mjd_obs)
            exposure = simulator.compose(
                conditions_of(outcome.observation, rng, simulator.ranges),
                partial(place_ghosts, stars=outcome.stars, filter_offset_mm=offset),
                outcome.throws,
                rng,
                expnum=self.first_expnum + n,
                observation=outcome.observation,
            )
            if bool(exposure.labels) == self.ghosted(n):
                return exposure
        msg = f"exposure {n} of seed {self.seed}: got no {self._kind(n)} exposure after {_TRIES} tries"
        raise ConfigError(msg)

    def _outcome(self, n: int, bank: OpticsBank, rng: np.random.Generator) -> Outcome:
        """Draw observations until people see what is wanted."""
        laws, catalogue = SkyLaws.load(), BrightStars.load()
        for _ in range(_MAX_POINTINGS):
            observation = self.survey.draw(rng)
            expected = forecast(observation.pointing, laws, bank=bank, stars=catalogue)
            outcome = draw_outcome(observation, expected, laws.levels, rng)
            if outcome.ghosted == self.ghosted(n):
                return outcome
        msg = (
            f"{self.survey.description['survey']}: expected pointings of {self._kind(n)} exposures, got none in "
            f"{_MAX_POINTINGS} draws; give others, or another ghosted share"
        )
        raise ConfigError(msg)

    def _kind(self, n: int) -> str:
        """What exposure n is to be, in words."""
        return "ghosted" if self.ghosted(n) else "clean"
