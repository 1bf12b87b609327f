"""Files of a run that are no plain files, or lead out of it, are refused by every reader, and none waits for them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest
from fakes import FakeReader, FakeScreener, FakeSegmenter, config
from typer.testing import CliRunner

from cascade.camera import Camera
from cascade.cli.app import app
from cascade.core.errors import CascadeError, StoreError
from cascade.export.formats import export_run
from cascade.inputs.listing import list_inputs
from cascade.pages.report import write_report
from cascade.pages.review import ReviewSession
from cascade.pipeline.batch import run_serial
from cascade.runs.lease import find_holder, hold_lease, take_away
from cascade.runs.run import Run, open_run
from cascade.runs.tables import SCHEMAS
from cascade.runs.verdicts.verdict_log import FILE
from cascade.runs.verify import forget_damages, verify_run

OF_BATCHES = [
    "ledger/batch-00001.json",
    *(f"{name}/part-00001.parquet" for name in SCHEMAS),
    "masks.zarr/mask/c/1/0/0",
    "masks.zarr/expnum/c/1",
    "masks.zarr/mjd_obs/c/1",
]
OF_THE_RUN = [
    "masks.zarr/zarr.json",
    "masks.zarr/mask/zarr.json",
    "masks.zarr/expnum/zarr.json",
    "masks.zarr/exposure/c/0",
    "inputs/part-00000.parquet",
]
READERS = {
    "tables": lambda run, _: [run.table(name) for name in SCHEMAS],
    "tables as they are": lambda run, _: [run.table(name, check=False) for name in SCHEMAS],
    "summary": lambda run, _: (run.summary(), run.pending()),
    "listing": lambda run, _: run.listing(),
    "masks": lambda run, _: run.masks[:],
    "masks as they are": lambda run, _: run.dataset(check=False).load(),
    "verify": lambda run, _: verify_run(run),
    "status": lambda run, _: CliRunner().invoke(app, ["status", str(run.path)]),
    "report": lambda run, out: write_report(run, out / "report"),
    "review": lambda run, _: ReviewSession(run).queue("me"),
    "export": lambda run, out: export_run(run, "via", out / "via"),
}


@pytest.fixture(autouse=True)
def _patience():
    """Fail where a reader waits."""

    def waited(*_):
        pytest.fail("a reader waits")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run(tmp_path) -> Run:
    """Four batches."""
    reader = FakeReader()
    created = Run.create_or_resume(tmp_path / "RUN", config(reader), listing=list_inputs(reader))
    run_serial(reader, created, FakeScreener(), FakeSegmenter(), Camera.decam())
    return created


@pytest.fixture(params=["pipe", "device", "link"])
def kind(request):
    """What lies there instead: a pipe, or a link to a device or to the very file, but elsewhere."""
    return request.param


def put(run, key, kind, tmp_path):
    """Put it in place of a file."""
    path = run.path / key
    path.rename(tmp_path / "elsewhere")
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else tmp_path / "elsewhere")


@pytest.mark.parametrize("key", [*OF_BATCHES, *OF_THE_RUN])
def test_no_reader_waits_and_verify_says_what_to_do(run, key, kind, tmp_path):
    before = [run.table(name) for name in SCHEMAS]
    put(run, key, kind, tmp_path)
    for read in READERS.values():
        with suppress(CascadeError):
            read(run, tmp_path)
    damages = verify_run(run)
    assert [damage.batch for damage in damages] == [1 if key in OF_BATCHES else None]
    assert key in damages[0].problem
    if key in OF_THE_RUN[:-1]:
        forget_damages(run, damages)
        assert verify_run(run) == []
        assert [run.table(name) for name in SCHEMAS] == before


@pytest.mark.parametrize("name", SCHEMAS)
def test_error_names_file_and_what_it_is(run, name, kind, tmp_path):
    put(run, f"{name}/part-00001.parquet", kind, tmp_path)
    got = {"pipe": "a pipe", "device": "a link that leads out", "link": "a link that leads out"}[kind]
    with pytest.raises(StoreError, match=rf"{name}/part-00001.parquet: expected .*, got {got}"):
        run.table(name)


def test_ledger_entry_that_is_none_counts_as_pending(run, kind, tmp_path):
    put(run, "ledger/batch-00001.json", kind, tmp_path)
    assert [batch.index for batch in run.pending()] == [1]
    run.forget(1)
    assert run.done() == [0, 2, 3]


def test_configuration_that_is_none_is_refused(run, kind, tmp_path):
    put(run, "run.json", kind, tmp_path)
    with pytest.raises(StoreError, match=r"run.json: expected "):
        open_run(run.path)


def test_folder_that_leads_out_is_refused(run, tmp_path):
    (run.path / "ledger").rename(tmp_path / "ledger")
    (run.path / "ledger").symlink_to(tmp_path / "ledger")
    for use in (run.pending, lambda: run.table("ccds"), lambda: run.forget(1), lambda: verify_run(run)):
        with pytest.raises(StoreError, match=r"RUN/ledger: expected .*, got a link that leads out of it"):
            use()
    assert len(list((tmp_path / "ledger").iterdir())) == 4


def test_link_to_another_file_of_the_run_and_a_run_that_is_a_link_are_read(run, tmp_path):
    part = run.path / "ccds" / "part-00001.parquet"
    part.rename(run.path / "moved.parquet")
    part.symlink_to("../moved.parquet")
    (tmp_path / "link").symlink_to(run.path)
    assert open_run(tmp_path / "link").table("ccds").num_rows > 0


def test_lease_that_is_none_is_refused_until_it_is_unlocked(run, kind, tmp_path):
    run.storage.write("lease/00000001.json", b"{}")
    put(run, "lease/00000001.json", kind, tmp_path)
    for use in (find_holder, lambda storage: hold_lease(storage).__enter__()):
        with pytest.raises(
            StoreError, match=r"lease/00000001.json: expected .*`cascade unlock .*` if no run is active"
        ):
            use(run.storage)
    take_away(run.storage)
    with hold_lease(run.storage):
        pass


def test_log_of_verdicts_that_is_none_is_refused(run, kind, tmp_path):
    ReviewSession(run)
    put(run, FILE, kind, tmp_path)
    for use in (ReviewSession, lambda run: write_report(run, tmp_path / "report")):
        with pytest.raises(StoreError, match=rf"{FILE}: expected a plain file, got a link"):
            use(run)


def test_entry_is_committed_over_what_is_none(run):
    os.mkfifo(run.path / "ledger" / "batch-00009.json")
    assert not run.storage.create("ledger/batch-00009.json", b"x")
