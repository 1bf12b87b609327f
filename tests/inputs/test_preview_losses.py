"""Tests of what a store of previews does when files of it are lost."""

import numpy as np
import pytest
import zarr
from fits_files import night
from test_preview_night import entry
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.core.errors import StoreError
from cascade.inputs.preview_files import read_parts
from cascade.inputs.preview_night import preview_night
from cascade.inputs.preview_store import header_table, open_store, verify_store


@pytest.fixture
def store(tmp_path):
    """Six exposures, two a part."""
    path = tmp_path / "p.zarr"
    with open_store(path, "decam") as opened:
        for first in (1, 3, 5):
            opened.append([entry(first, 10 * first), entry(first + 1, 10 * first + 1)])
    return path


def content(path):
    group = zarr.open_group(path, mode="r")
    arrays = {name: array[:].tolist() for name, array in group.arrays() if name != "preview"}
    return arrays, np.asarray(group["preview"][:, 0, 0]).tolist(), header_table(path).to_pylist()


def restored(path):
    """Open a store, making what was lost again."""
    with open_store(path, "decam") as opened:
        wanted = opened.lost_exposures()
        opened.restore({row: entry(n, 10 * (n - 1 + n % 2) + 1 - n % 2) for n, row in wanted.items()})
        return sorted(wanted)


def test_whole_store_is_whole(store):
    assert verify_store(store) == []
    result = CliRunner().invoke(app, ["verify", str(store)])
    assert (result.exit_code, result.output) == (0, f"{store}: 6 previews are there and whole\n")


@pytest.mark.parametrize(
    ("lost", "numbers"),
    [
        ((0,), [1, 2]),
        ((1,), [3, 4]),
        ((2,), [5, 6]),
        ((0, 1), [1, 2, 3, 4]),
        ((0, 2), [1, 2, 5, 6]),
        ((1, 2), [3, 4, 5, 6]),
        ((0, 1, 2), [1, 2, 3, 4, 5, 6]),
    ],
)
def test_header_part_that_is_lost_is_noticed_and_made_again(store, lost, numbers):
    before = content(store)
    for part in lost:
        (store.with_suffix(".headers") / f"part-0000{part}.parquet").unlink()
    expected = f"part-0000{lost[0]}.parquet: expected a part of the header table, got none"
    assert verify_store(store)[0] == f"p.headers/{expected}"
    result = CliRunner().invoke(app, ["verify", str(store)])
    assert result.exit_code == 1
    assert "are damaged; `cascade preview` with the same FITS exposures mends it" in result.output
    with pytest.raises(StoreError, match=expected):
        header_table(store)

    assert restored(store) == numbers
    assert content(store) == before
    assert verify_store(store) == []


def test_lost_header_part_without_its_exposures_stops_the_next_night(store, tmp_path):
    (store.with_suffix(".headers") / "part-00001.parquet").unlink()
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    (tmp_path / "night").mkdir()
    night(tmp_path / "night", 700001, ccdnums=(28,))
    with pytest.raises(StoreError, match="expected their FITS among the inputs, got none of 2, such as 3; `cascade"):
        preview_night([tmp_path / "night"], store)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_last_header_part_that_is_lost_stops_the_next_night(store, tmp_path):
    (store.with_suffix(".headers") / "part-00002.parquet").unlink()
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    (tmp_path / "night").mkdir()
    night(tmp_path / "night", 700001, ccdnums=(28,))
    with pytest.raises(StoreError, match="expected their FITS among the inputs, got none of 2, such as 5; `cascade"):
        preview_night([tmp_path / "night"], store)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_killed_process_and_a_lost_last_part_are_told_apart(store):
    """Rows beyond the extent were never whole, so they are cut; those within it are made again."""
    group = zarr.open_group(store, mode="r+")
    for name in ("preview", "expnum", "band", "mjd_obs", "ra", "dec", "exptime"):
        group[name].resize((8, *group[name].shape[1:]))
    assert restored(store) == []
    (store.with_suffix(".headers") / "part-00002.parquet").unlink()
    assert restored(store) == [5, 6]


def test_damaged_extent_is_an_error_that_says_what_to_do(store):
    (store.with_suffix(".headers") / "extent.json").write_text('{"parts": -1}')
    with pytest.raises(StoreError, match=r"extent.json: expected numbers of parts and exposures, got .*; delete it"):
        verify_store(store)


def test_last_header_part_that_is_lost_is_noticed_in_a_store_of_an_older_version(store):
    (store.with_suffix(".headers") / "extent.json").unlink()
    (store.with_suffix(".headers") / "part-00002.parquet").unlink()
    assert "expected 4 exposures, as in the header table, got 6" in verify_store(store)[0]


@pytest.mark.parametrize("name", ["expnum", "band", "mjd_obs"])
def test_lost_column_is_noticed_and_written_again(store, name):
    before = content(store)
    (store / name / "c" / "0").unlink()
    assert verify_store(store) == [f"p.zarr/{name}: expected what p.headers says, got other values"]
    assert restored(store) == []
    assert content(store) == before


def test_lost_shard_is_noticed_and_made_again(store):
    before = content(store)
    (store / "preview" / "c" / "0" / "0" / "0").unlink()
    assert verify_store(store) == ["p.zarr/preview/c/0/0/0: expected previews, got none"]
    assert restored(store) == [1, 2, 3, 4, 5, 6]
    assert content(store) == before
    assert verify_store(store) == []


def test_damaged_shard_is_noticed(store):
    file = store / "preview" / "c" / "0" / "0" / "0"
    file.write_bytes(file.read_bytes()[:-10])
    (problem,) = verify_store(store)
    assert problem.startswith("p.zarr/preview/c/0/0/0: expected previews, got ")
    assert problem.endswith("delete it, and `cascade preview`")


def test_preview_of_zeros_is_noticed(store):
    zarr.open_group(store, mode="r+")["preview"][2] = 0
    assert verify_store(store) == ["p.zarr[2]: expected a preview, got nothing but zeros"]


def test_lost_header_part_and_numbers_are_beyond_mending(store):
    (store.with_suffix(".headers") / "part-00001.parquet").unlink()
    (store / "expnum" / "c" / "0").unlink()
    with pytest.raises(StoreError, match="the exposure numbers do not say which previews it described; make a new st"):
        verify_store(store)


def test_exposure_without_a_number_is_beyond_mending(tmp_path):
    path = tmp_path / "p.zarr"
    with open_store(path, "decam") as opened:
        opened.append([entry(None)])
        opened.append([entry(2)])
    (path.with_suffix(".headers") / "part-00000.parquet").unlink()
    with (
        open_store(path, "decam") as opened,
        pytest.raises(StoreError, match="expected the number of each of 1 exposures whose previews or headers are"),
    ):
        opened.lost_exposures()


def test_what_is_no_store_is_refused(tmp_path):
    (tmp_path / "p.zarr").mkdir()
    with pytest.raises(StoreError, match=r"expected a store with its header table p\.headers beside it, got none"):
        verify_store(tmp_path / "p.zarr")
    (tmp_path / "p.headers").mkdir()
    with pytest.raises(StoreError, match="expected a store of previews, got"):
        verify_store(tmp_path / "p.zarr")


def test_part_of_another_name_doubles_nothing(store):
    folder = store.with_suffix(".headers")
    (folder / "part-000001.parquet").write_bytes((folder / "part-00001.parquet").read_bytes())
    assert list(read_parts(store)) == [0, 1, 2]


def test_night_makes_lost_previews_again(tmp_path):
    (tmp_path / "night").mkdir()
    for number in (700001, 700002, 700003):
        night(tmp_path / "night", number, ccdnums=(28,))
    store = tmp_path / "p.zarr"
    for number in (700001, 700002, 700003):
        preview_night([next((tmp_path / "night").glob(f"*{number}*"))], store)
    before = content(store)
    (store.with_suffix(".headers") / "part-00001.parquet").unlink()
    (store / "preview" / "c" / "0" / "0" / "0").unlink()
    done = preview_night([tmp_path / "night"], store)
    assert (done.n_added, done.n_known) == (0, 3)
    assert content(store) == before
