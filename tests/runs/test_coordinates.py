"""Tests of cascade.runs.coordinates: masks and tables are joined, in new, grown and older runs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import xarray
import zarr
from fakes import SEASON, FakeReader, FakeScreener, FakeSegmenter, config
from older_runs import to_format_3

from cascade.camera import Camera
from cascade.inputs.listing import list_inputs
from cascade.pipeline.batch import run_serial
from cascade.runs.coordinates import POSITIONS, coordinate_chunks, position_chunks
from cascade.runs.create import create_or_resume
from cascade.runs.files import read_run_json
from cascade.runs.mask_store import read_coordinates
from cascade.runs.masks import FOLDER, coordinate_keys, create_masks
from cascade.runs.run import Run, open_run
from cascade.runs.verify import forget_damages, verify_run
from cascade.storage import open_storage

ADDED = ((None, 7), (113, 8))  # batches of three: the 11 exposures of before end in the fourth, at position 10
MJDS = {expnum: 56232.0 + (expnum or 0) / 1000 for expnum, _ in (*SEASON, *ADDED)}


def season(run_path, items=SEASON, additions=()):
    """A complete run of these exposures."""
    reader = FakeReader(tuple(items))
    run = Run.create_or_resume(
        run_path, config(reader, inputs=f"{items}", additions=additions), listing=list_inputs(reader)
    )
    run_serial(reader, run, FakeScreener(), FakeSegmenter(), Camera.decam())
    return run


@pytest.fixture
def grown(tmp_path):
    season(tmp_path / "RUN")
    return season(tmp_path / "RUN", (*SEASON, *ADDED), (2,))


def expected_expnums(*, skipped):
    return [expnum or -1 for expnum, _ in SEASON] + ([-1, -1, 113] if skipped else [])


def check_joined(masks: xarray.Dataset, run: Run) -> None:
    """Every exposure of the table finds its plane by position, and the plane its exposure."""
    exposures = run.table("exposures")
    joined = masks.sel(exposure=exposures["exposure"].to_pylist())
    assert joined.expnum.values.tolist() == [e or -1 for e in exposures["expnum"].to_pylist()]
    times = [np.nan if mjd is None else mjd for mjd in exposures["mjd_obs"].to_pylist()]
    np.testing.assert_array_equal(joined.mjd_obs.values, times)
    ghosted = np.flatnonzero(joined["mask"].values.any(axis=(1, 2)))
    assert [exposures["status"][int(k)].as_py() for k in ghosted] == ["ghosted"] * len(ghosted)
    assert len(ghosted) == exposures["status"].to_pylist().count("ghosted")


def test_any_reader_of_zarr_sees_coordinates_that_join_tables(grown):
    opened = xarray.open_zarr(grown.path / "masks.zarr", consolidated=False)
    assert set(opened.coords) == {"exposure", "expnum", "mjd_obs"}
    assert set(opened.data_vars) == {"mask"}
    assert opened.exposure.values.tolist() == list(range(14))
    assert opened.expnum.values.tolist() == expected_expnums(skipped=True)
    assert (opened.expnum.dtype, opened.mjd_obs.dtype) == (np.int64, np.float64)
    check_joined(opened, grown)
    check_joined(grown.dataset(), grown)
    assert opened["mask"].attrs["flag_meanings"] == "bright faint rays"
    assert opened.mjd_obs.attrs["units"] == "d"


def test_plane_of_an_added_exposure_is_found_by_its_number(grown):
    masks = grown.dataset()
    (plane,) = np.flatnonzero(masks.expnum.values == 113)
    row = grown.table("exposures").filter(pa.compute.field("expnum") == 113).to_pylist()[0]
    assert (plane, row["exposure"], grown.table("exposures").num_rows) == (13, 13, 13)
    assert masks["mask"][13].values.any()
    assert masks.mjd_obs.values[13] == MJDS[113]
    assert np.isnan(masks.mjd_obs.values[11])  # where there is no exposure


def test_chunks_are_what_zarr_writes(tmp_path):
    exposures = pa.table({"expnum": pa.array([7, None], pa.int64()), "mjd_obs": pa.array([None, 56000.5])})
    create_masks(open_storage(tmp_path), 7, 4, config().classes)
    group = zarr.open_group(tmp_path / FOLDER, mode="r+")
    group["expnum"][4:6] = [7, -1]
    group["mjd_obs"][4:6] = [np.nan, 56000.5]
    written = [(tmp_path / key).read_bytes() for key in coordinate_keys(1)]
    assert coordinate_chunks(exposures, 4) == written
    assert group["exposure"][:].tolist() == list(range(7))


def test_longer_run_keeps_the_chunks_of_positions():
    few, many = position_chunks(11), position_chunks(16385)
    assert list(many) == ["exposure/c/0", "exposure/c/1"]
    assert few.items() <= many.items()


def test_positions_go_on_beyond_a_chunk(tmp_path):
    storage = open_storage(tmp_path)
    create_or_resume(storage, config(n_exposures=40_000), listing=None, fresh=False, details=None)
    assert zarr.open_array(tmp_path / FOLDER / POSITIONS, mode="r")[:].tolist() == list(range(40_000))


# Runs of format 3, which have none.


@pytest.fixture
def older(tmp_path):
    run = season(tmp_path / "RUN")
    run.forget(2)
    to_format_3(run)
    return open_run(run.path)


def test_older_run_is_read_and_whole_as_it_is(older):
    before = {file: file.read_bytes() for file in older.path.rglob("*") if file.is_file()}
    assert verify_run(older) == []
    check_joined(older.dataset(), older)
    assert older.dataset().expnum.values[6:9].tolist() == [-1, -1, -1]  # of the batch that is not done
    assert {file: file.read_bytes() for file in older.path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("grows", [False, True])
def test_resumed_older_run_gets_coordinates(older, grows):
    run = season(older.path, (*SEASON, *ADDED), (2,)) if grows else season(older.path)
    assert read_run_json(run.storage)["format_version"] == 4
    assert verify_run(run) == []
    opened = xarray.open_zarr(run.path / "masks.zarr", consolidated=False)
    assert opened.expnum.values.tolist() == expected_expnums(skipped=grows)
    check_joined(opened, run)


def test_refused_older_run_stays_as_it_is(older):
    before = {file: file.read_bytes() for file in older.path.rglob("*") if file.is_file()}
    with pytest.raises(Exception, match="holds a run of another configuration"):
        Run.create_or_resume(older.path, config(inputs="other", threshold=0.3))
    assert {file: file.read_bytes() for file in older.path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("n_written", range(17))
def test_migration_killed_anywhere_leaves_a_whole_run_that_is_migrated_later(older, monkeypatch, n_written):
    storage = type(older.storage)
    write, left = storage.write, [n_written]

    def written(self, key, data):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(self, key, data)

    monkeypatch.setattr(storage, "write", written)
    with pytest.raises(KeyboardInterrupt):
        season(older.path)
    monkeypatch.undo()
    assert verify_run(open_run(older.path)) == []
    check_joined(open_run(older.path).dataset(), older)
    check_joined(xarray.open_zarr(season(older.path).path / "masks.zarr", consolidated=False), older)


def test_older_run_with_a_damaged_batch_is_mended_as_any(older):
    (older.path / "exposures" / "part-00000.parquet").unlink()
    (damage,) = verify_run(older)
    assert damage.batch == 0
    forget_damages(older, [damage])
    run = season(older.path)
    assert verify_run(run) == []
    assert read_coordinates(run.storage, 0, 11)["expnum"].tolist() == expected_expnums(skipped=False)
