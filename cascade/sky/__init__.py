"""Predictions without pixels: bright stars, pointings and the ghosts that they make."""
