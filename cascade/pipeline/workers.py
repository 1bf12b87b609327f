"""Workers for a season."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workers:
    """
    Dask workers.

    Attributes
    ----------
    n_workers
        Worker processes to start on this machine, or jobs to queue; None for one a core.
    scheduler
        Address of a running Dask scheduler to use instead, such as ``"tcp://head:8786"``, or a batch system to queue
        workers on: ``"slurm"``, ``"pbs"`` or ``"htcondor"``; see `cascade.pipeline.dask.clusters`.
    """

    n_workers: int | None = None
    scheduler: str | None = None
