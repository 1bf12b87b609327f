"""
Where workers come from: this machine, a running scheduler, or a batch system.

On a batch system, each of the jobs that `n_workers` asks for is one worker process. What a job gets (queue, account,
memory, walltime, lines of its script) is in `cascade/pipeline/dask/jobs.yaml` and in Dask's own configuration, which
wins: ``~/.config/dask/jobqueue.yaml``, as dask-jobqueue describes it. No code is needed.

Whoever can talk to a scheduler or a worker of Dask runs code as the user who started it. Clusters that are started
here therefore speak TLS with a certificate made for the one run, which only processes of the user can read; a running
scheduler at ``tls://…`` is spoken to with the certificates of Dask's own configuration (``distributed.comm.tls``).
"""

# mypy: allow-untyped-calls
# distributed ships types, but not for its clients and clusters.

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask.config
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from distributed.security import Security

from cascade.core.errors import ConfigError, OutageError
from cascade.core.processes import safe_path
from cascade.pipeline.workers import Workers

JOB_QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "htcondor": "HTCondorCluster"}
"""Batch systems, and what dask-jobqueue calls their clusters."""

THREADS_PER_WORKER = 2  # one is in the networks while the other reads the next batch or stores the last one

# A batch that kills its second worker is processed in isolation.
_SETTINGS = {"distributed.scheduler.allowed-failures": 1}
_LOCAL_SETTINGS = {
    **_SETTINGS,
    # By default Dask abandons a worker that has not restarted 15 s after its death: slow disks need longer.
    "distributed.deploy.lost-worker-timeout": "1 hour",
    # Dask's value makes glibc return all memory at once: new pages for every preview cost a fifth of the speed.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
_TIMEOUT_S = 30


@contextmanager
def connect(workers: Workers) -> Iterator[Client]:
    """
    Give a client; its cluster ends with the block unless it existed before.

    Parameters
    ----------
    workers : Workers
        With the address of a running scheduler, one of `JOB_QUEUES` or neither.

    Raises
    ------
    OutageError
        If no scheduler answers at the address.
    ConfigError
        If it is not an address, or dask-jobqueue is not installed.
    """
    n_workers, scheduler = workers.n_workers, workers.scheduler
    if scheduler is None:
        with (
            safe_path(),
            dask.config.set(_LOCAL_SETTINGS),
            local_cluster(n_workers or CPU_COUNT) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
    elif scheduler in JOB_QUEUES:
        with job_cluster(scheduler) as cluster, Client(cluster, set_as_default=False) as client:
            # Adaptive, so that a job that ends, by its walltime say, is followed by another.
            cluster.adapt(minimum_jobs=n_workers, maximum_jobs=n_workers)
            yield client
    else:
        try:
            client = Client(scheduler, timeout=_TIMEOUT_S, set_as_default=False)
        except OSError as error:
            msg = f"{scheduler}: expected a Dask scheduler, got no answer"
            raise OutageError(msg) from error
        except ValueError as error:
            msg = f"{scheduler}: expected tcp://host:port or one of {', '.join(JOB_QUEUES)}, got {error}"
            raise ConfigError(msg) from error
        with client:
            yield client


def local_cluster(n_workers: int) -> LocalCluster:
    """Worker processes on this machine, spawned, which share its cores and its GPU."""
    # Batches hold what they need and no results stay, so Dask's pausing and killing on memory would do only harm.
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=THREADS_PER_WORKER,
        processes=True,
        security=Security.temporary(),
        dashboard_address="127.0.0.1:0",  # None would still take port 8787
        memory_limit=0,
        env=worker_environment(n_workers),
    )


@contextmanager
def job_cluster(kind: str) -> Iterator[Any]:
    """
    Give a cluster of dask-jobqueue, with our defaults under the user's own settings.

    Raises
    ------
    ConfigError
        If dask-jobqueue is not installed, or its settings lack something.
    """
    try:
        import dask_jobqueue
    except ImportError as error:
        msg = f"{kind}: expected dask-jobqueue, which is not installed: pip install 'ghost-cascade[jobqueue]'"
        raise ConfigError(msg) from error
    (defaults,) = dask.config.collect_yaml([str(Path(__file__).with_name("jobs.yaml"))])
    dask.config.update_defaults({"jobqueue": {kind: defaults}})
    # A job begins in the folder from which it was submitted: Python modules that lie there must not be imported.
    python = dask.config.get(f"jobqueue.{kind}.python") or shlex.quote(sys.executable)
    with _shared_security(kind) as security:
        try:
            with dask.config.set(_SETTINGS):
                cluster = getattr(dask_jobqueue, JOB_QUEUES[kind])(security=security, python=f"{python} -P")
        except ValueError as error:
            msg = f"{kind}: expected complete settings in ~/.config/dask/jobqueue.yaml, got {error}"
            raise ConfigError(msg) from error
        with cluster:
            yield cluster


@contextmanager
def _shared_security(kind: str) -> Iterator[Security]:
    """A certificate of this run, which workers read from files that only the user can read."""
    security = Security.temporary()
    shared = dask.config.get(f"jobqueue.{kind}.shared-temp-directory")
    place = Path(os.path.expandvars(shared)).expanduser()
    try:
        folder = TemporaryDirectory(prefix=".cascade-tls-", dir=place)  # of mode 700
    except OSError as error:
        setting = f"jobqueue.{kind}.shared-temp-directory"
        msg = f"{place}: expected a folder for certificates, in Dask's {setting}, got {error.strerror}"
        raise ConfigError(msg) from error
    with folder:
        for name in ("tls_ca_file", "tls_worker_key", "tls_worker_cert"):
            file = Path(folder.name) / f"{name}.pem"
            file.write_text(getattr(security, name), encoding="ascii")
            setattr(security, name, str(file))
        yield security


def worker_environment(n_workers: int) -> dict[str, str]:
    """Environment that makes the networks of several workers share the cores of one machine."""
    n_threads = str(max(1, CPU_COUNT // n_workers))
    return {
        "OMP_NUM_THREADS": n_threads,
        "TF_NUM_INTRAOP_THREADS": n_threads,
        "TF_NUM_INTEROP_THREADS": "1",
    }
