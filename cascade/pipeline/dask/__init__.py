"""
The pipeline over Dask: the same batches as `cascade.pipeline.batch.run_serial`, on many processes or machines.

A worker process loads the networks once, processes whole batches and commits them itself, so that one task writes one
shard and only counts travel back. A bounded number of batches is in flight, so that a scheduler never holds a season.
"""

from cascade.pipeline.dask.run import run_dask

__all__ = ["run_dask"]
