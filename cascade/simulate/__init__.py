"""Synthetic exposures."""

from cascade.simulate.season import SimulatedExposure, simulate_exposure, simulate_season

__all__ = ["SimulatedExposure", "simulate_exposure", "simulate_season"]
