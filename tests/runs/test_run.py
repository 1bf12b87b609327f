"""Tests of cascade.runs.run and what it is made of."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import zarr
from fakes import FakeReader, FakeScreener, FakeSegmenter, config, new_run
from pyarrow import dataset

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import StoreError
from cascade.core.versions import installed_versions
from cascade.inputs.listing import LISTING
from cascade.networks.model_id import ModelId
from cascade.pipeline.batch import process_batch
from cascade.runs.config import Batch
from cascade.runs.mask_store import read_planes
from cascade.runs.run import Run, open_run
from cascade.runs.tables import SCHEMAS, BatchCounts
from cascade.storage import open_storage
from cascade.storage.local import LocalStorage

CAMERA = Camera.decam()


@pytest.fixture
def run(tmp_path):
    return new_run(tmp_path / "run")


def result_of(batch, reader=None):
    part = (reader or FakeReader()).part(batch.start, batch.stop)
    return process_batch(part, batch, FakeScreener(), FakeSegmenter(), CAMERA, 0.7)


def commit_all(run):
    for batch in run.pending():
        run.commit(batch, result_of(batch))


def snapshot(path):
    """Every file below a folder with its bytes and time."""
    return {
        str(file.relative_to(path)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in path.rglob("*")
        if file.is_file()
    }


def test_committed_tables_are_read_back_in_input_order(run):
    results = {batch.index: result_of(batch) for batch in run.pending()}
    for batch in reversed(run.pending()):
        run.commit(batch, results[batch.index])
    for name in SCHEMAS:
        expected = pa.concat_tables([results[index].tables[name] for index in range(4)])
        assert open_run(run.path).table(name).equals(expected)


def test_committed_masks_are_read_back(run):
    commit_all(run)
    expected = np.zeros((11, 400, 400), np.uint8)
    for position in (1, 4, 9):
        expected[position, 100:150, 120:180] = 1
    for position in (3, 8):
        expected[position, 90:300, 90:300] |= 2
        expected[position, 250:310, 250:350] |= 4
    np.testing.assert_array_equal(open_run(run.path).masks[:], expected)


def test_masks_say_what_their_bits_and_axes_mean(run):
    group = zarr.open_group(run.path / "masks.zarr", mode="r")
    assert sorted(group.array_keys()) == ["expnum", "exposure", "mask", "mjd_obs"]
    array = group["mask"]
    assert dict(array.attrs) == {
        "flag_masks": [artifact.bit for artifact in Artifact],
        "flag_meanings": " ".join(artifact.label for artifact in Artifact),
        "coordinates": "expnum mjd_obs",
    }
    assert array.metadata.zarr_format == 3
    assert array.metadata.dimension_names == ("exposure", "y", "x")
    assert (array.shape, array.chunks, array.shards) == ((11, 400, 400), (1, 400, 400), (3, 400, 400))


def test_clean_exposures_cost_no_chunk(run):
    reader = FakeReader(((1, 0),) * 11)
    for batch in run.pending():
        run.commit(batch, result_of(batch, reader))
    assert not (run.path / "masks.zarr" / "mask" / "c").exists()
    assert not run.masks[:].any()


def test_shard_left_by_a_killed_attempt_is_removed_when_nothing_is_found(run):
    batch = run.pending()[0]
    zarr.open_array(run.path / "masks.zarr" / "mask", mode="r+")[0:3] = 7
    run.commit(batch, replace(result_of(batch), masks=None))
    assert not run.masks[:].any()


def test_part_that_the_ledger_does_not_name_is_not_read(run):
    commit_all(run)
    (run.path / "ledger" / "batch-00001.json").unlink()
    assert run.table("exposures")["exposure"].to_pylist() == [0, 1, 2, 6, 7, 8, 9, 10]
    assert run.pending() == [Batch(1, 3, 6)]


def test_any_parquet_reader_opens_the_tables_and_skips_half_written_parts(run):
    commit_all(run)
    (run.path / "exposures" / ".part-00001.parquet.0.aside").write_bytes(b"half")
    plain = dataset.dataset(run.path / "exposures").to_table().sort_by("exposure")
    assert plain.equals(run.table("exposures"))


def test_run_below_a_folder_named_like_a_partition_gains_no_column(tmp_path):
    run = new_run(tmp_path / "night=1" / "run")
    commit_all(run)
    assert run.table("exposures").schema.equals(SCHEMAS["exposures"], check_metadata=True)


def test_table_of_an_empty_run_has_its_schema(run):
    assert run.table("ccds").schema.equals(SCHEMAS["ccds"])
    assert run.table("ccds").num_rows == 0


def test_unknown_table_is_refused(run):
    with pytest.raises(StoreError, match="expected a table of exposures, artifacts, ccds, failures, got 'stars'"):
        run.table("stars")


def test_missing_part_is_named(run):
    commit_all(run)
    (run.path / "ccds" / "part-00002.parquet").unlink()
    with pytest.raises(StoreError, match=r"expected a part of the run, got .*part-00002.parquet.*cascade verify"):
        run.table("ccds")


def test_damaged_part_is_named(run):
    commit_all(run)
    (run.path / "ccds" / "part-00002.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(StoreError, match=r"part-00002.parquet: expected sha256 .*: the file was changed"):
        run.table("ccds")
    with pytest.raises(StoreError, match=r"part-00002.parquet: expected a part of the run"):
        run.table("ccds", check=False)


def test_missing_masks_are_named(run):
    (run.path / "masks.zarr" / "mask" / "zarr.json").unlink()
    with pytest.raises(
        StoreError, match=r"masks.zarr/mask/zarr.json: expected a file of the run, got none; run `cascade verify`"
    ):
        run.masks[0]


def test_ledger_entry_holds_counts_and_seconds(run):
    counts = run.commit(run.pending()[0], result_of(run.pending()[0]))
    entry = json.loads((run.path / "ledger" / "batch-00000.json").read_text())
    assert BatchCounts(**entry["counts"]) == counts
    arrays = {"masks.zarr/mask/c/0/0/0", "masks.zarr/expnum/c/0", "masks.zarr/mjd_obs/c/0"}
    assert entry["files"].keys() == {f"{name}/part-00000.parquet" for name in SCHEMAS} | arrays
    for key, sha256 in entry["files"].items():
        assert hashlib.sha256((run.path / key).read_bytes()).hexdigest() == sha256
    assert (counts.n_exposures, counts.n_flagged, counts.n_ghosted, counts.n_failed, counts.n_artifacts) == (
        3,
        1,
        1,
        1,
        1,
    )
    assert list(counts.seconds) == ["read", "screen", "segment", "tables", "store"]
    assert min(counts.seconds.values()) >= 0


def test_damaged_ledger_entry_is_named(run):
    run.commit(run.pending()[0], result_of(run.pending()[0]))
    (run.path / "ledger" / "batch-00000.json").write_text('{"counts": {"n_moons": 1}, "files": {}}')
    with pytest.raises(
        StoreError, match=r"batch-00000.json: invalid ledger entry: key counts.n_moons: unknown; .* verify --forget"
    ):
        run.entries([0])


def test_finished_run_says_so_with_counts_versions_and_times(run):
    commit_all(run)
    assert run.summary().status == "running"
    summary = run.finish()
    assert summary == open_run(run.path).summary()
    assert (summary.status, summary.n_batches, summary.n_done) == ("complete", 4, 4)
    content = json.loads((run.path / "run.json").read_text())
    assert content["counts"] == {
        "n_exposures": 11,
        "n_flagged": 5,
        "n_ghosted": 5,
        "n_failed": 2,
        "n_artifacts": 7,
    }
    assert content["config"]["screen"] == {"name": "screen-fake", "sha256": "aa", "description_sha256": "cc"}
    assert content["versions"] == installed_versions()
    assert content["started"] <= content["finished"]
    assert content["seconds"].keys() == {"read", "screen", "segment", "tables", "store"}


def test_run_with_pending_batches_cannot_be_finished(run):
    with pytest.raises(StoreError, match="expected every batch to be done, got 4 pending"):
        run.finish()


def test_resuming_goes_on_with_what_is_pending(run):
    run.commit(run.pending()[0], result_of(run.pending()[0]))
    before = snapshot(run.path)
    resumed = Run.create_or_resume(run.path, config())
    assert [batch.index for batch in resumed.pending()] == [1, 2, 3]
    assert snapshot(run.path) == before


def test_resuming_removes_what_a_killed_run_was_writing(run):
    half = [
        ".run.json.0.aside",
        "inputs/.part-00000.parquet.0.aside",
        "exposures/.part-00000.parquet.0.aside",
        "ledger/.batch-00000.json.0.aside",
        "masks.zarr/mask/c/0/0/.0.0.aside",
    ]
    before = snapshot(run.path)
    for name in half:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_bytes(b"half")
    Run.create_or_resume(run.path, config())
    assert snapshot(run.path) == before


def test_run_killed_while_it_was_being_created_can_be_created(tmp_path):
    (tmp_path / ".run.json.0.aside").write_bytes(b"half")
    run = Run.create_or_resume(tmp_path, config())
    assert not (tmp_path / ".run.json.0.aside").exists()
    for name in ("masks.zarr/mask/zarr.json", "masks.zarr/zarr.json"):
        (tmp_path / name).unlink()
    assert Run.create_or_resume(tmp_path, config()).pending() == run.pending()
    commit_all(run)
    assert run.masks[1].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": "beef"}, "expected inputs 'f00d', got 'beef'; choose another directory, or --fresh"),
        ({"n_exposures": 12}, "expected n_exposures 11, got 12"),
        ({"screen": ModelId("screen-fake", "ab", "cc")}, "expected screen ModelId.*'aa'.*, got ModelId.*'ab'"),
        ({"screen": None, "threshold": None}, "expected screen ModelId.*, got None"),
        ({"segment": ModelId("other", "bb", "dd")}, "expected segment ModelId"),
        ({"threshold": 0.8}, "expected threshold 0.7, got 0.8"),
        ({"batch_size": 4}, "expected batch_size 3, got 4"),
    ],
)
def test_another_configuration_is_refused_and_nothing_changes(run, changes, message):
    run.commit(run.pending()[0], result_of(run.pending()[0]))
    before = snapshot(run.path)
    with pytest.raises(StoreError, match=message):
        Run.create_or_resume(run.path, config(**changes))
    assert snapshot(run.path) == before


def test_configuration_survives_the_run_json(run):
    assert open_run(run.path).config == config()
    plain = config(screen=None, threshold=None, segment=None)
    assert Run.create_or_resume(run.path, plain, fresh=True).config == open_run(run.path).config == plain


@pytest.mark.parametrize("fresh", [False, True])
def test_folder_that_is_not_a_run_is_left_alone(tmp_path, fresh):
    (tmp_path / "thesis.tex").write_text("do not lose me")
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match=r"expected a run or an empty directory, got thesis.tex in it"):
        Run.create_or_resume(tmp_path, config(), fresh=fresh)
    assert snapshot(tmp_path) == before


def test_file_in_place_of_the_run_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(StoreError, match="expected a directory, got a file"):
        Run.create_or_resume(tmp_path / "run", config())


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{half", r"run.json: expected JSON, got .*; the file is damaged"),
        ("[]", r"run.json: expected a JSON object, got list"),
        (
            '{"format": "tar"}',
            r"run.json: expected format 'ghost-cascade run' version 2, 3 or 4, got 'tar' version None$",
        ),
    ],
)
def test_damaged_run_json_is_refused_and_nothing_changes(run, fresh, content, message):
    (run.path / "run.json").write_text(content)
    before = snapshot(run.path)
    with pytest.raises(StoreError, match=message):
        Run.create_or_resume(run.path, config(), fresh=fresh)
    assert snapshot(run.path) == before


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (lambda _config: None, "config: expected a table, got None"),
        (lambda _config: {}, "config: key inputs: missing; expected a string"),
        (lambda config: {**config, "n_exposures": 0}, "config: n_exposures: expected at least 1, got 0"),
        (lambda config: {**config, "n_exposures": "7"}, "config: key n_exposures: expected an integer, got '7'"),
        (lambda config: {**config, "screen": {"name": "x"}}, r"config: key screen\.sha256: missing; expected a string"),
        (lambda config: {**config, "additions": [1, 0.5]}, r"config: key additions\[1\]: expected an integer, got 0.5"),
        (lambda config: {k: v for k, v in config.items() if k != "batch_size"}, "config: key batch_size: missing"),
        (
            lambda config: {**config, "colour": 1},
            "config: key colour: unknown; expected one of inputs, n_exposures, ",
        ),
    ],
)
def test_damaged_configuration_is_refused(run, damaged, message):
    content = json.loads((run.path / "run.json").read_text())
    content["config"] = damaged(content["config"])
    (run.path / "run.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match=rf"/run\.json: {message}"):
        open_run(run.path)


def test_folder_without_run_json_cannot_be_opened(tmp_path):
    with pytest.raises(StoreError, match=r"expected a run directory, got no run.json in it"):
        open_run(tmp_path)


def test_fresh_starts_anew_and_keeps_what_is_not_ours(run):
    commit_all(run)
    for name in ("notes.txt", "ledger/notes.txt", "exposures/notes.txt"):
        (run.path / name).write_text("mine")
    anew = Run.create_or_resume(run.path, config(threshold=0.8, batch_size=11), fresh=True)
    assert anew.pending() == [Batch(0, 0, 11)]
    assert anew.masks.shards == (11, 400, 400)
    assert sorted(name for name in snapshot(run.path) if not name.startswith("masks.zarr")) == [
        "exposures/notes.txt",
        "ledger/notes.txt",
        "notes.txt",
        "run.json",
    ]


def test_details_are_kept_but_not_compared(tmp_path):
    Run.create_or_resume(tmp_path, config(), details={"command": "cascade run a"})
    Run.create_or_resume(tmp_path, config(), details={"command": "cascade run ./a"})
    assert json.loads((tmp_path / "run.json").read_text())["details"] == {"command": "cascade run a"}


@pytest.mark.parametrize("batch", [Batch(4, 12, 15), Batch(0, 0, 2), Batch(-1, 9, 11)])
def test_batch_of_another_run_is_refused(run, batch):
    with pytest.raises(StoreError, match="expected a batch of this run, got Batch"):
        run.commit(batch, result_of(Batch(0, 0, 3)))


def test_result_of_another_size_is_refused(run):
    with pytest.raises(StoreError, match=r"expected 3 exposures in .*, got 2 rows"):
        run.commit(Batch(0, 0, 3), result_of(Batch(0, 0, 2)))
    short = replace(result_of(Batch(0, 0, 3)), masks=np.zeros((2, 400, 400), np.uint8))
    with pytest.raises(StoreError, match=r"got 3 rows and masks \(2, 400, 400\)"):
        run.commit(Batch(0, 0, 3), short)
    assert len(run.pending()) == 4


def test_result_with_another_schema_is_refused(run):
    result = result_of(Batch(0, 0, 3))
    tables = {**result.tables, "ccds": result.tables["ccds"].drop_columns("detpos")}
    with pytest.raises(StoreError, match="expected the schema of ccds"):
        run.commit(Batch(0, 0, 3), replace(result, tables=tables))


@pytest.mark.parametrize("victim", ["exposures", "failures", "masks", "ledger"])
def test_commit_interrupted_anywhere_leaves_the_batch_pending_and_the_next_one_whole(run, monkeypatch, victim):
    batch = run.pending()[0]
    with monkeypatch.context() as patch:
        for name in ("write", "create"):
            real = getattr(LocalStorage, name)

            def interrupted(storage, key, data, real=real):
                if victim in key:
                    raise KeyboardInterrupt
                return real(storage, key, data)

            patch.setattr(LocalStorage, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.commit(batch, result_of(batch))
    assert batch in run.pending()
    assert run.table("exposures").num_rows == 0
    run.commit(batch, result_of(batch))
    assert run.table("exposures").equals(result_of(batch).tables["exposures"])


def test_batch_that_is_done_is_not_stored_again(run):
    batch = run.pending()[0]
    counts = run.commit(batch, result_of(batch))
    before = snapshot(run.path)
    assert run.commit(batch, result_of(batch)) == counts
    assert snapshot(run.path) == before


def stored_by_another_in_between(monkeypatch, theirs):
    """Let another process commit just before the next ledger entry is created."""
    real = LocalStorage.create
    queue = [theirs]

    def create(storage, key, data):
        if queue:
            queue.pop()()
        return real(storage, key, data)

    monkeypatch.setattr(LocalStorage, "create", create)


def test_two_that_commit_the_same_end_with_one_entry(run, monkeypatch):
    batch = run.pending()[0]
    first = []
    stored_by_another_in_between(monkeypatch, lambda: first.append(run.commit(batch, result_of(batch))))
    assert run.commit(batch, result_of(batch)) == first[0]
    assert run.done() == [0]
    assert run.summary().counts.n_exposures == 3


def test_two_that_commit_otherwise_end_with_the_files_of_one(run, monkeypatch):
    batch = run.pending()[0]
    other = result_of(batch, FakeReader(((1, 0),) * 11))
    stored_by_another_in_between(monkeypatch, lambda: run.commit(batch, other))
    run.commit(batch, result_of(batch))
    (entry,) = run.entries([0])
    assert entry.counts.n_ghosted == 1
    for key, sha256 in entry.files.items():
        assert hashlib.sha256((run.path / key).read_bytes()).hexdigest() == sha256
    assert run.table("exposures").equals(result_of(batch).tables["exposures"])
    assert run.masks[1].any()


def listing_of(n):
    return pa.table([[f"night/{k}.jpg" for k in range(n)], [None] * n], schema=LISTING)


def test_run_grows_by_batches_of_its_own(tmp_path):
    run = Run.create_or_resume(tmp_path, config(), listing=listing_of(11))
    commit_all(run)
    run.finish()
    before = snapshot(tmp_path)
    grown = Run.create_or_resume(
        tmp_path, config(inputs="beef", n_exposures=15, additions=(4,)), listing=listing_of(15)
    )
    assert grown.pending() == [Batch(4, 12, 15, 1), Batch(5, 15, 16, 1)]
    assert grown.summary().status == "running"
    assert "finished" not in json.loads((tmp_path / "run.json").read_text())
    assert grown.listing().equals(listing_of(15))
    assert grown.masks.shape == (16, 400, 400)
    changed = {name for name, content in snapshot(tmp_path).items() if before.get(name) != content}
    of_masks = {f"masks.zarr/{name}zarr.json" for name in ("", "mask/", "exposure/", "expnum/", "mjd_obs/")}
    assert changed == {"run.json", "inputs/part-00001.parquet", "masks.zarr/exposure/c/0", *of_masks}
    assert open_run(tmp_path).config == grown.config
    np.testing.assert_array_equal(np.flatnonzero(grown.masks[:].any(axis=(1, 2))), [1, 3, 4, 8, 9])


def test_run_killed_while_growing_can_grow_otherwise(tmp_path):
    Run.create_or_resume(tmp_path, config(), listing=listing_of(11))
    (tmp_path / "inputs" / "part-00001.parquet").write_bytes(b"of the call that was killed")
    grown = Run.create_or_resume(
        tmp_path, config(inputs="beef", n_exposures=12, additions=(1,)), listing=listing_of(12)
    )
    assert grown.listing().equals(listing_of(12))


@pytest.mark.parametrize(
    "changes",
    [
        {"n_exposures": 15, "additions": (4,), "threshold": 0.8},
        {"n_exposures": 15, "additions": (3,), "inputs": "beef"},
        {"n_exposures": 15, "additions": (2, 2), "inputs": "beef"},
    ],
)
def test_run_grows_by_inputs_alone(tmp_path, changes):
    Run.create_or_resume(tmp_path, config(), listing=listing_of(11))
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match="holds a run of another configuration"):
        Run.create_or_resume(tmp_path, config(**changes), listing=listing_of(15))
    assert snapshot(tmp_path) == before


def test_run_without_a_list_of_its_inputs_says_so(run):
    with pytest.raises(StoreError, match=r"expected the list of its inputs.*inputs cannot be added"):
        run.listing()


def test_run_on_an_object_store_is_that_on_a_disk(run, s3, s3_folder):
    s3.share = 0.1
    remote = Run.create_or_resume(s3_folder, config(), listing=listing_of(11))
    for batch in reversed(remote.pending()):
        remote.commit(batch, result_of(batch))
    commit_all(run)
    assert remote.finish().counts.n_exposures == 11
    remote = open_run(s3_folder)
    assert remote.path == s3_folder
    assert remote.pending() == []
    for name in SCHEMAS:
        assert remote.table(name).equals(run.table(name))
    np.testing.assert_array_equal(read_planes(remote.storage, 0, 12), read_planes(run.storage, 0, 12))
    s3.share = 0.0
    np.testing.assert_array_equal(remote.masks[:], run.masks[:])
    assert [e.files for e in remote.entries(range(4))] == [e.files for e in run.entries(range(4))]
    anew = Run.create_or_resume(s3_folder, config(threshold=0.8), fresh=True)
    assert len(anew.pending()) == 4
    assert not anew.masks[:].any()


def test_place_on_an_object_store_that_is_not_a_run_is_left_alone(s3, s3_folder):
    open_storage(s3_folder).write("thesis.tex", b"do not lose me")
    with pytest.raises(StoreError, match=r"expected a run or an empty directory, got thesis.tex in it"):
        Run.create_or_resume(s3_folder, config(), fresh=True)
