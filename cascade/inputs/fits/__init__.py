"""FITS exposures to 400x400 previews: structure, pixels, sky, binning, stretch, and the store that keeps them."""
