"""The run directory: written batch by batch, resumable, verifiable and readable with any Parquet or Zarr reader."""
