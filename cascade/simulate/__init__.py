"""Synthetic exposures: ray-traced ghosts, an empirical model of Rays, and the sky of DES previews."""

from cascade.simulate.synthetic_exposure import SimulatedExposure, Simulator
from cascade.simulate.synthetic_season import Season, simulate_exposure, simulate_season

__all__ = ["Season", "SimulatedExposure", "Simulator", "simulate_exposure", "simulate_season"]
