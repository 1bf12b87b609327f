"""Running the cascade: one batch, a whole season in this process, and the same over Dask."""
