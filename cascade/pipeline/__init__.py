"""The cascade at work: one batch, a whole season in this process, and the same over Dask."""
