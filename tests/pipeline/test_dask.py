"""Tests of cascade.pipeline.dask."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster
from distributed.comm import connect
from distributed.security import Security
from fakes import CLEAN, FakeLoader, FakeReader, FakeScreener, FakeSegmenter, config, new_run

from cascade.camera import Camera
from cascade.core.errors import ConfigError, ModelError
from cascade.pipeline.batch import run_serial
from cascade.pipeline.dask import clusters, run_dask
from cascade.pipeline.dask import run as run_module
from cascade.pipeline.dask.dispatch import Dispatcher
from cascade.pipeline.dask.tasks import Job
from cascade.pipeline.workers import Workers
from cascade.runs.config import batches
from cascade.runs.run import Run, open_run
from cascade.runs.tables import SCHEMAS, BatchCounts
from cascade.storage.local import LocalStorage
from cascade.storage.object_store import ObjectStorage

pytestmark = pytest.mark.slow

CAMERA = Camera.decam()


@pytest.fixture(scope="module")
def scheduler():
    """Address of a small cluster of processes, as a site would run one."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def serial(tmp_path):
    run = new_run(tmp_path / "serial")
    run_serial(FakeReader(), run, FakeScreener(), FakeSegmenter(), CAMERA)
    return run


@dataclass(frozen=True)
class BrokenLoader:
    """A model that does not load."""

    def __call__(self):
        msg = "screen-v9: no such model"
        raise ModelError(msg)


@dataclass(frozen=True)
class EnvironmentLoader:
    """Fails with what a worker was told about threads, to see it from outside."""

    def __call__(self):
        raise ModelError(" ".join(os.environ[name] for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")))


def assert_same(run, other):
    for name in SCHEMAS:
        assert run.table(name).equals(other.table(name))
    np.testing.assert_array_equal(run.masks[:], other.masks[:])


def test_two_processes_make_the_same_run_as_one(tmp_path, serial):
    traces = tmp_path / "traces"
    traces.mkdir()
    reported = []
    run = new_run(tmp_path / "dask")
    summary = run_dask(FakeReader(), run, FakeLoader(traces), CAMERA, Workers(2), on_batch=reported.append)
    assert_same(open_run(run.path), serial)
    assert (summary.status, summary.counts.n_exposures) == ("complete", 11)
    assert sorted(counts.n_exposures for counts in reported) == [2, 3, 3, 3]
    pids = [file.name.split("-")[0] for file in traces.iterdir()]
    assert len(pids) == len(set(pids)) <= 2  # networks are loaded once a worker
    assert str(os.getpid()) not in pids


def test_running_scheduler_makes_the_same_run(tmp_path, serial, scheduler):
    run = new_run(tmp_path / "dask")
    run_dask(FakeReader(), run, FakeLoader(), CAMERA, Workers(scheduler=scheduler))
    assert_same(run, serial)


def test_run_begun_serially_is_finished_in_parallel(tmp_path, serial, scheduler):
    def stop(_counts):
        raise KeyboardInterrupt

    run = new_run(tmp_path / "mixed")
    with pytest.raises(KeyboardInterrupt):
        run_serial(FakeReader(), run, FakeScreener(), FakeSegmenter(), CAMERA, on_batch=stop)
    reported = []
    resumed = Run.create_or_resume(run.path, config())
    run_dask(FakeReader(), resumed, FakeLoader(), CAMERA, Workers(scheduler=scheduler), on_batch=reported.append)
    assert len(reported) == 3
    assert_same(resumed, serial)


def test_few_batches_are_in_flight_at_a_time(tmp_path, scheduler):
    reader = FakeReader(tuple((number, CLEAN) for number in range(30)))
    submitted, done, most = [], [], []

    class Watched(FakeReader):
        def part(self, start, stop):
            submitted.append(start)
            return reader.part(start, stop)

    def on_batch(_counts):
        done.append(1)
        most.append(len(submitted) - len(done))

    run = new_run(tmp_path, reader, batch_size=1)
    run_dask(Watched(reader.items), run, FakeLoader(), CAMERA, Workers(scheduler=scheduler), on_batch=on_batch)
    assert len(submitted) == len(done) == 30
    assert max(most) <= 3 * 2


@dataclass
class PromisedBatch:
    """A future that has ended as soon as it is asked for."""

    key: str
    status: str

    def add_done_callback(self, callback):
        callback(self)

    def result(self):
        return BatchCounts(n_exposures=1)


class LargeCluster:
    """A client of eight workers, whose scheduler tells of five unless asked for all."""

    status = "running"

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.keys = []

    def scheduler_info(self, n_workers=5):
        addresses = [f"tcp://worker:{port}" for port in range(8)]
        return {
            "workers": {
                address: {"resources": {}} for address in (addresses if n_workers < 0 else addresses[:n_workers])
            }
        }

    def submit(self, _function, *_args, key):
        self.keys.append(key)
        return PromisedBatch(key, self.statuses.pop(0) if self.statuses else "finished")

    def cancel(self, _futures):
        pass


def dispatched(client, n_batches):
    """How many tasks had been submitted as each batch came back."""
    submitted = []
    job = Job(LocalStorage(Path("run")), FakeLoader(), CAMERA)
    reader = FakeReader(tuple((number, CLEAN) for number in range(n_batches)))
    dispatcher = Dispatcher(
        client, reader, job, on_batch=lambda _counts: submitted.append(len(client.keys)), on_event=print
    )
    dispatcher.run(batches(n_batches, 1))
    return submitted


def test_every_worker_of_a_large_cluster_is_kept_busy():
    assert dispatched(LargeCluster(), 30)[0] == 3 * 8


def test_batch_whose_result_went_away_with_its_worker_is_done_again():
    client = LargeCluster("finished", "lost")
    assert len(dispatched(client, 3)) == 3
    assert [key.rsplit("-", 1)[0] for key in client.keys] == [f"cascade-batch-{k}" for k in (0, 1, 2, 1)]


@pytest.mark.parametrize(
    ("error", "storage"),
    [
        (PermissionError(13, "refused"), LocalStorage(Path("run"))),
        (PermissionError(13, "refused"), ObjectStorage("s3://bucket/run")),
        (FileNotFoundError(2, "no such bucket"), ObjectStorage("s3://bucket/run")),
    ],
)
def test_refusal_or_missing_bucket_is_an_error_at_once(error, storage):
    class Refused(PromisedBatch):
        def result(self):
            raise error

    client = LargeCluster()
    client.submit = lambda *_, key: Refused(key, "error")
    job = Job(storage, FakeLoader(), CAMERA)
    dispatcher = Dispatcher(client, FakeReader(((1, CLEAN),)), job, on_batch=print, on_event=print)
    with pytest.raises(type(error), match=error.strerror):
        dispatcher.run(batches(1, 1))


def test_error_of_a_whole_batch_is_raised_as_it_was_and_the_run_can_be_resumed(tmp_path, serial, scheduler):
    run = new_run(tmp_path / "run")
    with pytest.raises(ModelError, match="screen-v9: no such model"):
        run_dask(FakeReader(), run, BrokenLoader(), CAMERA, Workers(scheduler=scheduler))
    assert len(run.pending()) == 4
    run_dask(FakeReader(), run, FakeLoader(), CAMERA, Workers(scheduler=scheduler))
    assert_same(run, serial)


def test_finished_run_starts_no_worker(serial, monkeypatch):
    monkeypatch.delattr(run_module, "connect")
    assert run_dask(FakeReader(), serial, FakeLoader(), CAMERA, Workers()).status == "complete"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_workers": 2, "scheduler": "tcp://head:8786"}, "n_workers: expected none with a scheduler.*, got 2"),
        ({"n_workers": 0}, "n_workers: expected at least 1, got 0"),
        ({"scheduler": "slurm"}, "n_workers: expected how many jobs to queue on slurm, got none"),
        ({"scheduler": "mars"}, "mars: expected tcp://host:port or one of slurm, pbs, htcondor"),
    ],
)
def test_workers_that_make_no_sense_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        run_dask(FakeReader(), new_run(tmp_path), FakeLoader(), CAMERA, Workers(**options))


def test_reader_of_another_length_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected 11 exposures, got a reader of 1"):
        run_dask(FakeReader(((1, CLEAN),)), new_run(tmp_path), FakeLoader(), CAMERA, Workers())


def test_workers_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "CPU_COUNT", 7)
    with pytest.raises(ModelError, match=r"^7 7$"):
        run_dask(FakeReader(), new_run(tmp_path), EnvironmentLoader(), CAMERA, Workers(1))
    assert clusters.worker_environment(2)["TF_NUM_INTRAOP_THREADS"] == "3"
    assert clusters.worker_environment(9)["TF_NUM_INTRAOP_THREADS"] == "1"


def test_local_workers_keep_the_memory_of_previews(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with clusters.connect(Workers(1)) as client:
        assert list(client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_").values()) == [None]


async def knock(address, arguments):
    comm = await connect(address, timeout=1, **arguments)
    comm.abort()


def test_client_without_the_certificate_of_the_run_is_refused(tmp_path, monkeypatch):
    """What another account of the machine would try: to run code through the ports that are open."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "multiprocessing.py").write_text(f"open({str(tmp_path / 'TRACE')!r}, 'w').close()\nraise SystemExit\n")
    monkeypatch.chdir(folder)
    with clusters.connect(Workers(1)) as client:
        info = client.scheduler_info(n_workers=-1)
        addresses = [info["address"], *info["workers"], *(worker["nanny"] for worker in info["workers"].values())]
        assert all(address.startswith("tls://127.0.0.1:") for address in addresses)
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        own = Security.temporary().get_connection_args("client")  # certificates, but others than the run's
        for address in addresses:
            for other, arguments in ((address.replace("tls", "tcp"), {}), (address, own)):
                with pytest.raises(OSError, match=r"timed out|handshake|certificate|SSL|closed"):
                    client.sync(knock, other, arguments)
    assert not (tmp_path / "TRACE").exists()  # nor did workers import from the current folder


@pytest.mark.parametrize("kind", clusters.JOB_QUEUES)
def test_queued_workers_speak_tls_and_show_nothing_to_others(kind, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("HOME", str(tmp_path))
    with clusters.job_cluster(kind) as cluster:
        script = cluster.job_script()
        (secrets,) = tmp_path.glob(".cascade-tls-*")
        assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
        assert cluster.scheduler_address.startswith("tls://")
        dashboard = cluster.scheduler.http_server
        assert {s.getsockname()[0] for s in dashboard._sockets.values()} == {"127.0.0.1"}
        key = f"--tls-key {secrets}/tls_worker_key.pem"
        assert all(word in script for word in ("--protocol tls://", key, " -P -m ", "--no-dashboard"))
    assert not secrets.exists()


def test_queue_without_a_folder_for_certificates_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    message = "none: expected a folder for certificates, .*jobqueue.slurm.shared-temp-directory, got No such file"
    with pytest.raises(ConfigError, match=message), clusters.job_cluster("slurm"):
        pass
