from __future__ import annotations

import json
import shutil
import time

import pyarrow as pa
import pytest
from fakes import FakeReader, FakeScreener, FakeSegmenter, config
from older_runs import to_format_3
from pyarrow import parquet
from typer.testing import CliRunner

from cascade.camera import Camera
from cascade.cli.app import app
from cascade.core.errors import StoreError
from cascade.core.exposure import Source
from cascade.inputs.listing import LISTING, fingerprint
from cascade.pipeline.batch import process_batch
from cascade.runs.files import part_bytes
from cascade.runs.lease import Holder, find_holder, hold_lease, take_away
from cascade.runs.run import Run, find_run, open_run
from cascade.runs.tables import SCHEMAS
from cascade.runs.verify import Damage, forget_damages, verify_run
from cascade.storage import open_storage

N = 11  # exposures of `config`, in 4 batches


def listing(n: int = N) -> pa.Table:
    sources = [FakeReader().source(k) if k < N else Source(f"new-{k}.jpg", k) for k in range(n)]
    return pa.table([[s.path for s in sources], [s.expnum for s in sources]], schema=LISTING)


def settings(n: int = N, **changes):
    return config(inputs=fingerprint(listing(n)), n_exposures=n, **changes)


@pytest.fixture
def run(tmp_path) -> Run:
    created = Run.create_or_resume(tmp_path / "RUN", settings(), listing=listing())
    commit_pending(created)
    created.finish()
    return created


def result_of(batch):
    part = FakeReader().part(batch.start, batch.stop)
    return process_batch(part, batch, FakeScreener(), FakeSegmenter(), Camera.decam(), 0.7)


def commit_pending(run: Run) -> None:
    for batch in run.pending():
        run.commit(batch, result_of(batch))


def mended(run: Run) -> None:
    """Mend as a person would, and find all as it was."""
    forget_damages(run, verify_run(run))
    resumed = Run.create_or_resume(run.path, run.config, listing=listing())
    commit_pending(resumed)
    resumed.finish()
    assert verify_run(resumed) == []


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_whole_run_is_whole(run):
    assert verify_run(run) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_table_with_a_part_of_another_batch_is_an_error_that_names_it(run, name):
    folder = run.path / name
    shutil.copyfile(folder / "part-00000.parquet", folder / "part-00001.parquet")
    with pytest.raises(StoreError, match=rf"{name}/part-00001.parquet: expected sha256 .*, got .*the file was changed"):
        run.table(name)
    assert len(run.table(name, check=False)) >= 0
    mended(run)


def test_torn_ledger_entry_costs_its_batch_alone(run):
    before = run.table("exposures")
    path = run.path / "ledger" / "batch-00001.json"
    path.write_bytes(path.read_bytes()[:200])
    assert [batch.index for batch in run.pending()] == [1]
    assert (run.summary().status, run.summary().n_done) == ("running", 3)
    (damage,) = verify_run(run)
    assert damage.batch == 1
    assert "expected JSON" in damage.problem
    with pytest.raises(StoreError, match=r"batch-00001.json: expected JSON.* `cascade verify --forget` and the same"):
        run.table("exposures")

    resumed = Run.create_or_resume(run.path, run.config, listing=listing())
    commit_pending(resumed)
    resumed.finish()
    assert verify_run(resumed) == []
    assert resumed.table("exposures").equals(before)


def test_lost_ledger_entry_of_a_complete_run_is_noticed(run):
    before = [run.table(name) for name in SCHEMAS]
    (run.path / "ledger" / "batch-00001.json").unlink()
    (damage,) = verify_run(run)
    assert damage == Damage(1, "ledger/batch-00001.json: expected a batch of a complete run, got none")
    for read in (lambda: run.table("exposures"), lambda: run.masks[3:6]):
        with pytest.raises(StoreError, match=r"of a complete run, got .*; run `cascade verify`"):
            read()
    mended(run)
    assert [run.table(name) for name in SCHEMAS] == before


def test_batch_that_was_forgotten_is_no_damage(run):
    run.forget(1)
    assert verify_run(run) == []
    assert run.table("exposures")["exposure"].to_pylist() == [0, 1, 2, 6, 7, 8, 9, 10]
    commit_pending(run)
    assert run.summary().status == "running"
    assert run.finish().status == "complete"


def test_list_of_inputs_with_another_content_is_refused(run):
    path = run.path / "inputs" / "part-00000.parquet"
    path.write_bytes(part_bytes(listing(N + 1)))
    with pytest.raises(StoreError, match=r"inputs/part-00000.parquet: expected sha256 .* the file was changed"):
        run.listing()


def test_every_digit_of_a_ledger_entry_counts(run):
    path = run.path / "ledger" / "batch-00000.json"
    path.write_text(path.read_text().replace('"n_flagged": 1', '"n_flagged": 2'))
    (damage,) = verify_run(run)
    assert "expected content of sha256" in damage.problem
    mended(run)


def test_entry_of_another_batch_is_none_of_this_one(run):
    ledger = run.path / "ledger"
    shutil.copyfile(ledger / "batch-00000.json", ledger / "batch-00002.json")
    (damage,) = verify_run(run)
    assert "expected the files of batch 2, got" in damage.problem
    with pytest.raises(StoreError, match="expected the files of batch 2, got"):
        run.table("ccds")
    mended(run)


@pytest.mark.parametrize("name", ["batch-000001.json", "batch-00001 (copy).json", "notes.txt"])
def test_doubled_entry_doubles_no_rows_and_is_noticed(run, name):
    ledger = run.path / "ledger"
    shutil.copyfile(ledger / "batch-00001.json", ledger / name)
    assert run.table("exposures")["exposure"].to_pylist() == list(range(N))
    (damage,) = verify_run(run)
    assert damage.problem == f"ledger/{name}: expected the entry of a batch, got another file"
    mended(run)
    assert not (ledger / name).exists()


DESCRIPTIONS = ["", "mask/", "exposure/", "expnum/", "mjd_obs/"]


@pytest.mark.parametrize("key", [f"masks.zarr/{name}zarr.json" for name in DESCRIPTIONS])
@pytest.mark.parametrize("lost", [True, False])
def test_description_of_the_masks_is_verified_and_made_again(run, key, lost):
    before = (run.path / key).read_bytes()
    if lost:
        (run.path / key).unlink()
    else:
        (run.path / key).write_bytes(before.replace(b'"node_type"', b'"node-type"'))
    (damage,) = verify_run(run)
    assert damage.problem.startswith(f"{key}: expected the file that the run wrote")
    forget_damages(run, [damage])
    assert (run.path / key).read_bytes() == before
    assert verify_run(run) == []


@pytest.mark.parametrize("lost", [True, False])
def test_positions_of_the_masks_are_verified_and_made_again(run, lost):
    path = run.path / "masks.zarr" / "exposure" / "c" / "0"
    before = path.read_bytes()
    path.unlink() if lost else path.write_bytes(before[:-1])
    (damage,) = verify_run(run)
    assert damage.problem.startswith("masks.zarr/exposure/c/0: expected the file that the run wrote")
    with pytest.raises(StoreError, match=r"masks.zarr/exposure/c/0: expected "):
        run.dataset()
    forget_damages(run, [damage])
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["mask/c/1/0/0", "expnum/c/1", "mjd_obs/c/1"])
@pytest.mark.parametrize("change", ["lost", "of another batch", "changed"])
def test_masks_and_coordinates_of_a_batch_are_verified_and_read_with_care(run, name, change):
    path = run.path / "masks.zarr" / name
    if change == "lost":
        path.unlink()
    elif change == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    else:
        shutil.copyfile(run.path / "masks.zarr" / name.replace("c/1", "c/3"), path)
    (damage,) = verify_run(run)
    assert damage.batch == 1
    with pytest.raises(StoreError, match=rf"masks.zarr/{name}: expected (a file of batch 1|sha256 .*), got"):
        run.masks[3:6] if name.startswith("mask") else run.dataset().load()
    assert run.masks[0:3].any()
    mended(run)
    assert run.masks[3:6].any()
    assert run.dataset().expnum.values[3:6].tolist() == [104, -1, 106]


def test_who_cannot_wait_reads_masks_as_they_are(run):
    path = run.path / "masks.zarr" / "mask" / "c" / "1" / "0" / "0"
    shutil.copyfile(run.path / "masks.zarr" / "mask" / "c" / "0" / "0" / "0", path)
    assert run.dataset(check=False)["mask"][4].values.any()
    with pytest.raises(StoreError, match="the file was changed"):
        run.dataset()["mask"][4].load()


def test_masks_that_the_ledger_does_not_name_are_not_read(run):
    masks = run.masks
    run.forget(1)
    assert not run.masks[3:6].any()
    assert masks[0:3].any()
    commit_pending(run)
    assert run.masks[3:6].any()
    assert masks[3:6].any()


def test_open_masks_follow_a_batch_that_is_done_again(run):
    masks = run.masks
    assert masks[3:6].any()
    batch = run.batches()[1]
    clean = FakeReader(((1, 0),) * N).part(3, 6)
    run.forget(1)
    run.commit(batch, process_batch(clean, batch, FakeScreener(), FakeSegmenter(), Camera.decam(), 0.7))
    masks.store._kept.clear()  # as after other planes
    assert not masks[3:6].any()


def test_resumed_run_makes_the_description_of_its_masks_again(run):
    (run.path / "masks.zarr" / "zarr.json").write_text("{}")
    Run.create_or_resume(run.path, run.config, listing=listing())
    assert verify_run(run) == []


def test_changed_run_json_is_noticed(run, caplog):
    path = run.path / "run.json"
    path.write_text(path.read_text().replace('"status": "complete"', '"status": "Complete"'))
    (damage,) = verify_run(run)
    assert damage.problem.startswith("run.json: expected content of sha256")
    for read in (open_run, find_run, lambda path: Run.create_or_resume(path, run.config, listing=listing())):
        with pytest.raises(StoreError, match=r"run.json: expected content of sha256 .*`cascade verify --forget`"):
            read(run.path)
    assert invoke("verify", run.path, "--forget", "-q").exit_code == 0
    assert verify_run(open_run(run.path)) == []


def test_list_of_inputs_that_was_changed_is_refused(run):
    path = run.path / "inputs" / "part-00000.parquet"
    table = run.listing()
    parquet.write_table(table.set_column(1, "expnum", pa.array(range(N), pa.int64())), path, compression="zstd")
    with pytest.raises(StoreError, match=r"inputs/part-00000.parquet: expected sha256"):
        run.listing()


@pytest.mark.parametrize("lost", [True, False])
def test_list_of_inputs_is_verified_and_restored_by_the_same_inputs(run, lost):
    path = run.path / "inputs" / "part-00000.parquet"
    before = path.read_bytes()
    path.unlink() if lost else path.write_bytes(before[:-1])
    result = invoke("verify", run.path, "-q")
    assert result.exit_code == 1
    assert "inputs/part-00000.parquet: expected the file that the run wrote, got none or another; the same" in (
        result.output
    )
    assert "0 of 4 batches and 1 other files are damaged" in result.output
    Run.create_or_resume(run.path, run.config, listing=listing())
    assert path.read_bytes() == before
    assert verify_run(run) == []


def test_lists_of_a_grown_run_are_restored(run):
    more = settings(N + 2, additions=(2,))
    Run.create_or_resume(run.path, more, listing=listing(N + 2))
    paths = sorted((run.path / "inputs").iterdir())
    before = {path: path.read_bytes() for path in paths}
    assert len(paths) == 2
    for path in paths:
        path.unlink()
    Run.create_or_resume(run.path, more, listing=listing(N + 2))
    assert {path: path.read_bytes() for path in paths} == before
    assert verify_run(open_run(run.path)) == []


def test_run_of_an_older_version_has_no_such_hashes_and_is_whole(run):
    to_format_3(run)
    for path in (run.path / "run.json", *(run.path / "ledger").iterdir()):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in content.items() if k not in ("sha256", "files") or k == "files"}))
    content = json.loads((run.path / "run.json").read_text())
    del content["files"]
    (run.path / "run.json").write_text(json.dumps(content))
    assert verify_run(open_run(run.path)) == []
    (run.path / "masks.zarr" / "zarr.json").unlink()
    (damage,) = verify_run(open_run(run.path))
    assert damage.problem.startswith("masks.zarr/zarr.json: expected the file that the run wrote, got none or another")


def holder(**changes: object) -> bytes:
    content = {"host": "far", "pid": 1, "kernel": "x", "started": "1", "token": "t", "renewed": time.time()}
    return json.dumps(content | changes).encode()


@pytest.mark.parametrize("ahead_s", [365 * 86400.0, 1e18])
def test_lease_of_a_clock_that_is_ahead_does_not_lock(tmp_path, ahead_s):
    storage = open_storage(tmp_path)
    storage.write("lease/00000001.json", holder(renewed=time.time() + ahead_s))
    assert find_holder(storage) is None
    with hold_lease(storage):
        assert find_holder(storage).host != "far"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"host": 1}', holder(renewed=float("nan")), b" " * (1 << 17)])
def test_damaged_lease_is_unlocked(run, content):
    run.storage.write("lease/00000001.json", content)
    with pytest.raises(StoreError, match=r"lease/00000001.json: .*`cascade unlock .*` if no run is active"):
        hold_lease(run.storage).__enter__()
    assert invoke("unlock", run.path).exit_code == 0
    with hold_lease(run.storage):
        pass


def test_unlocked_run_stops_at_its_next_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.runs.lease._RENEWED_EVERY_S", 0.02)
    storage = open_storage(tmp_path)
    with hold_lease(storage) as lease:
        monkeypatch.setattr("cascade.runs.lease._kernel", lambda: "of another machine")
        assert isinstance(take_away(storage), Holder)
        deadline = time.monotonic() + 30
        while lease._taken_by is None and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(StoreError, match="taken over by a run on"):
            lease.check()


def test_run_at_work_on_this_machine_is_not_unlocked(tmp_path):
    storage = open_storage(tmp_path)
    with hold_lease(storage), pytest.raises(StoreError, match=r"got one on this machine \(pid \d+\); end it first"):
        take_away(storage)
