"""Synthetic exposures: ray-traced ghosts, an empirical model of Rays, and the sky of DES previews."""

from cascade.simulate.exposure import SimulatedExposure, Simulator
from cascade.simulate.season import Season, simulate_exposure, simulate_season

__all__ = ["Season", "SimulatedExposure", "Simulator", "simulate_exposure", "simulate_season"]
