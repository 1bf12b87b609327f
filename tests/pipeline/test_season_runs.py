"""Tests of whole seasons with the stand-ins: growing, leases, object stores, logs, `cascade status` and `verify`."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image
from reader_files import write_zarr
from typer.testing import CliRunner

import cascade
from cascade.cli.app import app
from cascade.core.errors import StoreError
from cascade.pipeline.season import run_stub
from cascade.runs.config import Batch
from cascade.runs.lease import hold_lease
from cascade.runs.mask_store import read_planes
from cascade.runs.run import find_run, open_run
from cascade.runs.tables import SCHEMAS
from cascade.runs.verify import Damage, verify_run
from cascade.storage import open_storage

pytestmark = pytest.mark.slow


def add(folder, *numbers):
    """Previews of these expnums; those that 5 divides are ghosted."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        image = np.full((400, 400), 50, np.uint8)
        image[0, 0] = 150 + number % 50 if number % 5 == 0 else number % 50
        Image.fromarray(image).save(folder / f"D{number:08d}.png")
    return folder


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def night(tmp_path):
    return add(tmp_path / "night", *range(10, 30))


@pytest.fixture
def run(night, tmp_path):
    return run_stub(night, tmp_path / "run", batch_size=8)


def test_what_a_season_returns_is_what_open_run_gives(run):
    assert run == cascade.open_run(run.path)
    assert type(run) is type(cascade.open_run(run.path)) is cascade.Run
    assert run.frame("exposures").expnum.tolist() == list(range(10, 30))
    assert np.array_equal(run.mask(15), run.dataset()["mask"][5])
    assert run.plot(15).get_title().startswith("15  score 0.65")
    assert "20: 4 flagged" in run._repr_html_()


def rows(run, name):
    """Rows without their positions, by path or expnum."""
    return sorted(json.dumps(row) for row in run.table(name).drop_columns("exposure").to_pylist())


def test_season_that_grew_in_the_middle_takes_the_new_ones_only(run, night, tmp_path):
    done = {path: path.stat().st_mtime_ns for path in run.path.glob("ledger/*")}
    add(night, 1, 2, 15, 16, 25, 40)  # 15, 16 and 25 are there already, 1 and 2 sort before all others
    add(night / "later", 35)
    reported = []
    grown = run_stub(night, run.path, batch_size=8, on_batch=reported.append)
    assert [counts.n_exposures for counts in reported] == [4]
    assert {path: path.stat().st_mtime_ns for path in done} == done
    exposures = grown.table("exposures")
    assert exposures["expnum"].to_pylist() == [*range(10, 30), 1, 2, 40, 35]
    assert exposures["exposure"].to_pylist() == [*range(20), 24, 25, 26, 27]
    assert grown.summary().status == "complete"
    assert verify_run(grown) == []
    whole = run_stub(night, tmp_path / "whole", batch_size=8)
    for name in SCHEMAS:
        assert rows(grown, name) == rows(whole, name)
    for row in exposures.to_pylist():
        assert bool(grown.masks[row["exposure"]].any()) == (row["status"] == "ghosted")
    add(night, 50, 55)
    again = run_stub(night, run.path, batch_size=8)
    assert again.table("exposures")["expnum"].to_pylist()[-3:] == [35, 50, 55]
    assert again.config.additions == (4, 2)
    assert json.loads((run.path / "run.json").read_text())["counts"]["n_exposures"] == 26


def test_season_that_is_the_same_in_another_order_is_the_same(night, tmp_path):
    files = sorted(night.glob("*.png"))
    first = run_stub(files, tmp_path / "run", batch_size=8)
    reported = []
    run_stub(files[::-1], tmp_path / "run", batch_size=8, on_batch=reported.append)
    assert reported == []
    assert find_run(tmp_path / "run").config == first.config


def test_growing_season_on_workers_is_the_same(run, night):
    add(night, 1, 35)
    grown = run_stub(night, run.path, batch_size=8, n_workers=1)
    assert grown.table("exposures")["expnum"].to_pylist() == [*range(10, 30), 1, 35]
    assert verify_run(grown) == []


def test_season_of_other_inputs_is_refused(run, night, tmp_path):
    (night / "D00000017.png").unlink()
    with pytest.raises(StoreError, match=r"holds a run of other inputs: expected '.*D00000017.png' and 0 more"):
        run_stub(night, run.path, batch_size=8)
    with pytest.raises(StoreError, match="holds a run of other inputs"):
        run_stub(add(tmp_path / "other", 1, 2), run.path, batch_size=8)


def test_killed_season_that_grew_is_finished(night, tmp_path):
    def stop(_counts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stub(night, tmp_path / "run", batch_size=8, on_batch=stop)
    add(night, 1)
    run = run_stub(night, tmp_path / "run", batch_size=8)
    assert run.table("exposures")["expnum"].to_pylist() == [*range(10, 30), 1]
    assert run.batches()[-1] == Batch(3, 24, 25, 4)


def test_season_killed_between_its_last_batch_and_its_end_is_completed(night, tmp_path):
    def stop(counts):
        if counts.n_exposures == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stub(night, tmp_path / "run", batch_size=8, on_batch=stop)
    assert open_run(tmp_path / "run").summary().status == "running"
    started, reported = [], []
    run = run_stub(night, tmp_path / "run", batch_size=8, on_start=started.append, on_batch=reported.append)
    assert (started, reported) == ([run], [])
    assert run.summary().status == "complete"


def test_second_run_at_once_is_refused(night, tmp_path):
    with hold_lease(open_storage(tmp_path / "run")):
        with pytest.raises(StoreError, match="expected no other active run, got one on"):
            run_stub(night, tmp_path / "run")
        result = invoke("run", night, "--stub", "--out", tmp_path / "run")
        assert result.exit_code == 1
        assert "error: " in result.output
    run_stub(night, tmp_path / "run")


def test_run_whose_lease_was_taken_stops(night, tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.runs.lease._RENEWED_EVERY_S", 0.02)
    storage = open_storage(tmp_path / "run")

    def take(_counts):
        (renewing,) = (thread for thread in threading.enumerate() if thread.name == "lease")
        storage.write("lease/00000002.json", storage.read("lease/00000001.json"))
        renewing.join(30)

    with pytest.raises(StoreError, match="taken over by a run on"):
        run_stub(night, tmp_path / "run", batch_size=8, on_batch=take)
    assert len(open_run(tmp_path / "run").pending()) == 2


def test_place_that_is_no_run_gets_no_lease(night):
    with pytest.raises(StoreError, match="expected a run or an empty directory"):
        run_stub(night, night)
    assert not (night / "lease").exists()


def test_season_from_and_to_a_flaky_object_store(s3, s3_folder, tmp_path):
    write_zarr(tmp_path / "previews.zarr", 20, expnum=range(100, 120))
    for path in (tmp_path / "previews.zarr").rglob("*"):
        if path.is_file():
            open_storage(s3_folder).write(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    local = run_stub(tmp_path / "previews.zarr", tmp_path / "run", batch_size=8)
    s3.share = 0.05
    url = f"{s3_folder}/RUN"
    result = invoke("run", f"{s3_folder}/previews.zarr", "--stub", "--batch", 8, "--out", url, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert f"{url}: 20 exposures" in result.output
    remote = open_run(url)
    for name in SCHEMAS:
        columns = [column for column in SCHEMAS[name].names if column != "path"]
        assert remote.table(name).select(columns).equals(local.table(name).select(columns))
    np.testing.assert_array_equal(read_planes(remote.storage, 0, 20), local.masks[:])
    assert verify_run(remote) == []
    assert "complete" in invoke("status", url).output
    assert invoke("veto", url, "--out", tmp_path / "veto.csv").exit_code == 0
    refused = invoke("report", url).output
    assert f"{url}: expected --out, a local folder: browsers cannot open a report on an object store" in " ".join(
        refused.split()
    )


def test_log_holds_a_line_a_batch_with_seconds_per_stage(run):
    (path,) = (run.path / "logs").iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "batch", "batch", "batch", "complete"]
    assert lines[1]["seconds"].keys() == {"read", "screen", "segment", "tables", "store"}
    session = json.loads((run.path / "run.json").read_text())["last_session"]
    assert session["n_exposures"] == 20
    assert session["exposures_per_s"] == pytest.approx(20 / session["seconds"])


def test_run_with_stand_ins_is_no_real_run(run, night):
    from cascade.pipeline.season import run_season

    assert run.config.screen.name == run.config.segment.name == "stub"
    with pytest.raises(StoreError, match=r"expected screen ModelId\(name='stub'"):
        run_season(night, run.path, batch_size=8, n_workers=1)
    result = invoke("run", night, "--stub", "--screen", "x", "--out", "y")
    assert result.exit_code == 2


def test_status_of_a_run_says_what_is_done_and_what_failed(night, tmp_path):
    for number in (31, 32):
        (night / f"D{number:08d}.png").write_bytes(b"")
    (night / "D00000033.png").write_bytes(b"hello")

    def stop(_counts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stub(night, tmp_path / "run", batch_size=8, on_batch=stop)
    result = invoke("status", tmp_path / "run")
    assert "not running; `cascade run` with the same inputs resumes it" in result.output
    assert "exposures: 8 of 23 done, in 1 of 3 batches" in result.output
    run_stub(night, tmp_path / "run", batch_size=8)
    with hold_lease(open_storage(tmp_path / "run")):
        lines = invoke("status", tmp_path / "run").output.splitlines()
    assert lines[0] == f"{tmp_path / 'run'}: complete"
    assert lines[1] == "exposures: 23 of 23 done, in 3 of 3 batches"
    assert lines[2] == "flagged: 4 (17.4 %), ghosted: 4, failed: 3"
    assert lines[3].startswith("milliseconds per exposure, of one worker: read ")
    assert lines[4] == (f"  2 failed at read: expected a JPEG or PNG image, got an empty file ({night}/D00000031.png)")
    assert "1 failed at read: expected a JPEG or PNG image, got a file that starts with b'hello'" in lines[5]


def test_status_says_who_is_at_work(run):
    run.annotate(status="running")
    with hold_lease(run.storage):
        assert f"running on {os.uname().nodename} (pid {os.getpid()})" in invoke("status", run.path).output


def test_whole_run_is_verified(run):
    result = invoke("verify", run.path)
    assert result.exit_code == 0
    assert "20 exposures in 3 of 3 batches are complete and undamaged" in result.output


def rewritten(run, index, name, change):
    """Change a part, with the hash in the ledger, as a bug would."""
    import hashlib

    from cascade.runs.files import content_sha256, part_bytes, part_key, read_part

    key = part_key(name, index)
    data = part_bytes(change(read_part(run.storage.read(key), SCHEMAS[name], key)))
    run.storage.write(key, data)
    path = run.path / "ledger" / f"batch-{index:05d}.json"
    entry = json.loads(path.read_text())
    entry["files"][key] = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps(entry | {"sha256": content_sha256(entry)}))


DAMAGES = {
    "changed part": (lambda run: (run.path / "ccds/part-00001.parquet").write_bytes(b"PAR1"), "expected sha256"),
    "missing part": (lambda run: (run.path / "failures/part-00001.parquet").unlink(), "No such file"),
    "missing shard": (lambda run: (run.path / "masks.zarr/mask/c/1/0/0").unlink(), "No such file"),
    "bad entry": (lambda run: (run.path / "ledger/batch-00001.json").write_text("{}"), "entry: key counts: missing"),
    "lost row": (lambda run: rewritten(run, 1, "exposures", lambda t: t.slice(1)), "exposures: expected"),
    "doubled row": (
        lambda run: rewritten(run, 1, "exposures", lambda t: t.take([0, 0, 2, 3, 4, 5, 6, 7])),
        "exposures: expected",
    ),
    "lost artifact": (lambda run: rewritten(run, 1, "artifacts", lambda t: t.slice(1)), "exposures with artifacts:"),
    "other path": (
        lambda run: rewritten(run, 1, "exposures", lambda t: t.set_column(2, t.schema.field(2), [["x"] * 8])),
        "paths: expected",
    ),
    "other mask": (
        lambda run: rewritten(run, 1, "artifacts", lambda t: t.set_column(3, t.schema.field(3), [["rays"] * len(t)])),
        "masks that differ from the artifacts: expected",
    ),
    "no run lengths": (
        lambda run: rewritten(run, 1, "artifacts", lambda t: t.set_column(10, t.schema.field(10), [["5"] * len(t)])),
        "expected COCO's compressed run lengths of a 400x400 mask, got '5': they sum to 5 px",
    ),
    "no class": (
        lambda run: rewritten(run, 1, "artifacts", lambda t: t.set_column(3, t.schema.field(3), [["cat"] * len(t)])),
        "classes that the run does not have: expected",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_found_and_mended(kind, run, night):
    before = {name: run.table(name) for name in SCHEMAS}
    damage, message = DAMAGES[kind]
    damage(run)
    (found,) = verify_run(run)
    assert found.batch == 1
    assert message in found.problem
    result = invoke("verify", run.path)
    assert result.exit_code == 1
    assert f"batch 1: {found.problem}" in result.output
    assert "1 of 3 batches are damaged; `cascade verify --forget` and the same `cascade run`" in result.output
    assert invoke("verify", run.path, "--forget", "--quiet").exit_code == 0
    run_stub(night, run.path, batch_size=8)
    assert verify_run(run) == []
    for name in SCHEMAS:
        assert run.table(name).equals(before[name])


def test_stray_shard_and_stray_batch_are_damage(night, tmp_path):
    clean = add(tmp_path / "clean", *(n for n in range(20) if n % 5))
    run = run_stub(clean, tmp_path / "run", batch_size=8)
    run.storage.write("masks.zarr/mask/c/0/0/0", b"left behind")
    run.storage.write("ledger/batch-00009.json", run.storage.read("ledger/batch-00000.json"))
    assert [damage.batch for damage in verify_run(run)] == [0, 9]
    assert verify_run(run)[1] == Damage(9, "expected a batch below 2")


@pytest.mark.skipif(sys.platform != "linux", reason="the fake batch system is a shell script")
def test_workers_are_queued_on_a_batch_system(night, run, tmp_path):
    pytest.importorskip("dask_jobqueue")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    # Like the real one, it keeps a copy of the script, which is removed as soon as it answers.
    (bin_ / "sbatch").write_text(
        '#!/bin/sh\njob=$(mktemp)\ncp "$1" "$job"\nsetsid sh "$job" >/dev/null 2>&1 &\necho "Submitted batch job $!"\n'
    )
    (bin_ / "scancel").write_text('#!/bin/sh\nkill -- -"$1"\n')
    for path in bin_.iterdir():
        path.chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "DASK_CONFIG": str(tmp_path)}
    words = ["run", str(night), "--stub", "--batch", "8", "--out", str(tmp_path / "queued"), "--scheduler", "slurm"]
    environment["TMPDIR"] = str(tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "cascade", *words, "--workers", "1"],
        capture_output=True, text=True, env=environment, cwd=tmp_path, check=False, timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    queued = open_run(tmp_path / "queued")
    for name in SCHEMAS:
        assert queued.table(name).equals(run.table(name))


def test_failed_exposures_are_processed_again_if_asked_for(night, tmp_path):
    bad = night / "D00000033.png"
    bad.write_bytes(b"")
    run = run_stub(night, tmp_path / "run", batch_size=8)
    others = {path: path.stat().st_mtime_ns for path in run.path.glob("ledger/*0000[01].json")}
    add(night, 33)
    assert run_stub(night, tmp_path / "run", batch_size=8).summary().counts.n_failed == 1
    result = invoke("run", night, "--stub", "--out", tmp_path / "run", "--batch", 8, "--quiet", "--retry-failed")
    assert result.exit_code == 0, result.output
    assert "21 exposures (16 done before)" in result.output
    assert (run.summary().status, run.summary().counts.n_failed) == ("complete", 0)
    assert {path: path.stat().st_mtime_ns for path in others} == others
    assert verify_run(run) == []


def test_file_that_was_missing_and_is_back_is_processed_again(night, tmp_path):
    names = sorted(night.iterdir())
    manifest = tmp_path / "m.csv"
    manifest.write_text("path\n" + "".join(f"{name}\n" for name in names))
    names[11].rename(tmp_path / "away")
    assert run_stub(manifest, tmp_path / "run", batch_size=8).summary().counts.n_failed == 1
    assert run_stub(manifest, tmp_path / "run", batch_size=8).summary().counts.n_failed == 1
    (tmp_path / "away").rename(names[11])
    run = run_stub(manifest, tmp_path / "run", batch_size=8)
    assert (run.summary().status, run.summary().counts.n_failed) == ("complete", 0)
    assert verify_run(run) == []
