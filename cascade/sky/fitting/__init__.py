"""Fits the laws of the sky to annotated exposures: ``python -m cascade.sky.fitting``."""
