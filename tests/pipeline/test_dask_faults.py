"""Tests of cascade.pipeline.dask when workers, disks and schedulers fail."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from chaos import season_under_chaos
from cluster import Cluster
from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster
from fakes import (
    BRIGHT,
    CLEAN,
    DEADLY,
    OVERLAP,
    FakeLoader,
    FakeReader,
    FakeScreener,
    FakeSegmenter,
    SlowReader,
    config,
    new_run,
)

from cascade.camera import Camera
from cascade.core.errors import OutageError
from cascade.pipeline.batch import run_serial
from cascade.pipeline.dask import dispatch, run_dask
from cascade.pipeline.dask import run as run_module
from cascade.pipeline.dask.clusters import worker_environment
from cascade.pipeline.workers import Workers
from cascade.runs.run import Run
from cascade.runs.tables import SCHEMAS
from cascade.runs.verify import verify_run
from cascade.storage.local import LocalStorage

pytestmark = pytest.mark.slow

CAMERA = Camera.decam()


def serial_run(path, reader):
    run = new_run(path, reader)
    run_serial(reader, run, FakeScreener(), FakeSegmenter(), CAMERA)
    return run


def test_exposure_that_kills_its_worker_fails_alone(tmp_path):
    kinds = [CLEAN, BRIGHT, CLEAN, OVERLAP, DEADLY, BRIGHT, CLEAN, BRIGHT, CLEAN]
    reader = FakeReader(tuple(enumerate(kinds)))
    harmless = FakeReader(tuple(enumerate([*kinds[:4], CLEAN, *kinds[5:]])))
    events = []
    run = new_run(tmp_path / "run", reader)
    summary = run_dask(
        reader,
        run,
        FakeLoader(),
        CAMERA,
        Workers(1),
        on_event=lambda event, **details: events.append((event, details)),
    )
    assert (summary.status, summary.counts.n_exposures, summary.counts.n_failed) == ("complete", 9, 1)
    assert run.table("failures").select(["exposure", "stage"]).to_pylist() == [{"exposure": 4, "stage": "worker"}]
    expected = serial_run(tmp_path / "serial", harmless)
    for name in ("artifacts", "ccds"):
        assert run.table(name).equals(expected.table(name))
    assert verify_run(run) == []
    assert 1 in [details["batch"] for event, details in events if event == "isolated"]
    assert events[0][0] == "cluster"
    assert events[0][1]["dashboard"].startswith("http://127.0.0.1:")


@dataclass(frozen=True, slots=True)
class FullDisk(LocalStorage):
    """A disk without room for as long as a file named `full` lies beside the run."""

    def write(self, key, data):
        """Fail or write."""
        full = self.folder.parent / "full"
        if full.exists():
            (self.folder.parent / f"refused-{time.time_ns()}").touch()
            raise OSError(28, "No space left on device")
        LocalStorage.write(self, key, data)

    def absolute(self):
        """The same."""
        return self


@pytest.fixture(scope="module")
def scheduler():
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


def test_full_disk_is_waited_for(tmp_path, scheduler, monkeypatch):
    monkeypatch.setattr(dispatch, "_LONGEST_PAUSE_S", 0.1)
    run = Run.create_or_resume(FullDisk(tmp_path / "run"), config())
    (tmp_path / "full").touch()
    events = []

    def on_event(event, **details):
        events.append((event, details))
        if event == "retry":
            (tmp_path / "full").unlink(missing_ok=True)

    run_dask(FakeReader(), run, FakeLoader(), CAMERA, Workers(scheduler=scheduler), on_event=on_event)
    assert {details["cause"] for event, details in events if event == "retry"} == {"[Errno 28] No space left on device"}
    expected = serial_run(tmp_path / "serial", FakeReader())
    for name in SCHEMAS:
        assert run.table(name).equals(expected.table(name))


def test_disk_that_stays_full_ends_the_run_with_its_cause(tmp_path, scheduler, monkeypatch):
    monkeypatch.setattr(dispatch, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(dispatch, "_N_RETRIES", 1)
    run = Run.create_or_resume(FullDisk(tmp_path / "run"), config())
    (tmp_path / "full").touch()
    with pytest.raises(OutageError, match=r"batch \d: failed after 2 attempts: .*No space left.*can be resumed"):
        run_dask(FakeReader(), run, FakeLoader(), CAMERA, Workers(scheduler=scheduler))
    assert len(run.pending()) == 4


def test_scheduler_that_is_not_there_is_an_error_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.pipeline.dask.clusters._TIMEOUT_S", 1)
    with pytest.raises(OutageError, match=r"tcp://127.0.0.1:9: expected a Dask scheduler, got no answer"):
        run_dask(FakeReader(), new_run(tmp_path), FakeLoader(), CAMERA, Workers(scheduler="tcp://127.0.0.1:9"))


def test_lost_scheduler_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "_PAUSE_S", 0.1)
    reader = SlowReader(tuple((number, (CLEAN, BRIGHT)[number % 2]) for number in range(60)))
    tests = {"PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))}
    cluster = Cluster(tmp_path / "logs", 1, environment=tests)
    cluster.start()
    events, n_done = [], 0

    def on_batch(_counts):
        nonlocal n_done
        n_done += 1
        if n_done == 3:
            for process in (cluster.scheduler, cluster.workers[0]):
                process.kill()
                process.wait()
            cluster.start()

    run = new_run(tmp_path / "run", reader)
    try:
        run_dask(
            reader, run, FakeLoader(), CAMERA, Workers(scheduler=cluster.address), on_batch=on_batch,
            on_event=lambda event, **_details: events.append(event),
        )  # fmt: skip
    finally:
        cluster.stop()
    assert "scheduler lost" in events
    assert verify_run(run) == []
    assert run.table("exposures").equals(serial_run(tmp_path / "serial", FakeReader(reader.items)).table("exposures"))


@dataclass(frozen=True)
class TracingReader(FakeReader):
    """Tells by files which processes read."""

    traces: Path | None = None

    def read(self, index):
        """Read, and leave a trace."""
        (self.traces / f"read-{os.getpid()}").touch()
        return FakeReader.read(self, index)

    def part(self, start, stop):
        """Take a part."""
        return TracingReader(self.items[start:stop], self.traces)


def test_workers_with_the_resource_run_networks_and_the_others_read(tmp_path):
    traces = tmp_path / "traces"
    traces.mkdir()
    options = {"nthreads": 2, "env": worker_environment(2), "memory_limit": 0}
    workers = {
        "gpu": {"cls": Nanny, "options": {**options, "resources": {"GPU": 1}}},
        "cpu": {"cls": Nanny, "options": options},
    }
    head = {"cls": Scheduler, "options": {"dashboard_address": "127.0.0.1:0", "port": 0, "host": "127.0.0.1"}}
    run = new_run(tmp_path / "run")
    with SpecCluster(workers=workers, scheduler=head) as cluster:
        with Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(2)
        run_dask(
            TracingReader(traces=traces), run, FakeLoader(traces), CAMERA, Workers(scheduler=cluster.scheduler_address)
        )
    names = [file.name for file in traces.iterdir()]
    readers = {name.split("-")[1] for name in names if name.startswith("read-")}
    networks = {name.split("-")[0] for name in names if not name.startswith("read-")}
    assert len(networks) == 1
    assert readers - networks  # Dask may let an idle worker with the resource read, too
    expected = serial_run(tmp_path / "serial", FakeReader())
    for name in SCHEMAS:
        assert run.table(name).equals(expected.table(name))


def test_season_in_chaos_equals_a_quiet_one(tmp_path):
    result = season_under_chaos(tmp_path, n=400, batch=20, n_workers=2, seed=3, pause_s=(1.0, 3.0))
    assert all(result["verdicts"].values()), json.dumps(result, indent=1)
    assert result["happened"]["scheduler killed"] == result["happened"]["cascade run killed"] == 1
