"""Tests of cascade.runs.masks."""

from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cascade.core.artifact import PAPER_CLASSES
from cascade.runs.classes import RunClass
from cascade.runs.mask_store import open_masks as open_checked
from cascade.runs.mask_store import read_planes as read_checked
from cascade.runs.masks import FOLDER, create_masks, encode_shard, is_created, shard_key
from cascade.storage import open_storage

CLASSES = RunClass.of(PAPER_CLASSES)
# There is no ledger.
open_masks = partial(open_checked, check=False)
read_planes = partial(read_checked, check=False)


def planes(n):
    drawn = np.zeros((n, 400, 400), np.uint8)
    drawn[1, 10:60, 20:300] = 3
    drawn[n - 1, ::7] = 4
    return drawn


def test_shard_is_what_zarr_writes(tmp_path):
    storage = open_storage(tmp_path)
    create_masks(storage, 11, 4, CLASSES)
    array = zarr.open_array(tmp_path / FOLDER / "mask", mode="r+", config={"write_empty_chunks": False})
    array[4:8] = planes(4)
    array[8:11] = planes(3)
    for index, n in ((1, 4), (2, 3)):
        assert storage.read(shard_key(index)) == encode_shard(planes(n), 4)


@st.composite
def small_shards(draw):
    """Planes of a batch, some empty but not all, and the size of batches."""
    batch_size = draw(st.integers(1, 6))
    shape = (draw(st.integers(1, batch_size)), draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    drawn = draw(arrays(np.uint8, shape, elements=st.integers(0, 7), fill=st.just(0)))
    drawn[draw(st.lists(st.integers(0, shape[0] - 1), max_size=3))] = 0
    drawn[draw(st.integers(0, shape[0] - 1)), 0, 0] = draw(st.sampled_from([1, 2, 4]))
    return drawn, batch_size


@settings(max_examples=20, deadline=None)
@given(small_shards())
def test_shard_of_any_planes_is_what_zarr_writes(shard):
    drawn, batch_size = shard
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("cascade.runs.masks.PREVIEW_SHAPE", drawn.shape[1:])
        storage = open_storage(folder)
        create_masks(storage, batch_size + len(drawn), batch_size, CLASSES)
        array = zarr.open_array(f"{folder}/{FOLDER}/mask", mode="r+", config={"write_empty_chunks": False})
        array[batch_size:] = drawn
        assert storage.read(shard_key(1)) == encode_shard(drawn, batch_size)
        np.testing.assert_array_equal(read_planes(storage, 0, array.shape[0]), array[:])


def test_shard_is_read_back_by_zarr(tmp_path):
    storage = open_storage(tmp_path)
    create_masks(storage, 11, 4, CLASSES)
    storage.write(shard_key(2), encode_shard(planes(3), 4))
    np.testing.assert_array_equal(open_masks(storage)[8:11], planes(3))
    assert not open_masks(storage)[:8].any()


def test_longer_array_keeps_its_shards(tmp_path):
    storage = open_storage(tmp_path)
    assert not is_created(storage, 11)
    create_masks(storage, 11, 4, CLASSES)
    storage.write(shard_key(2), encode_shard(planes(3), 4))
    create_masks(storage, 40, 4, CLASSES)
    assert is_created(storage, 40)
    assert not is_created(storage, 11)
    np.testing.assert_array_equal(open_masks(storage)[8:12], np.concatenate([planes(3), np.zeros((1, 400, 400))]))


def test_the_bits_are_named_as_the_cf_conventions_want(tmp_path):
    create_masks(open_storage(tmp_path), 11, 4, (*CLASSES, RunClass("spot", 128)))
    attributes = dict(zarr.open_array(tmp_path / FOLDER / "mask", mode="r").attrs)
    assert attributes == {
        "flag_masks": [1, 2, 4, 128],
        "flag_meanings": "bright faint rays spot",
        "coordinates": "expnum mjd_obs",
    }


def test_planes_are_read_though_the_store_breaks_off(s3, s3_folder, monkeypatch):
    storage = open_storage(s3_folder)
    create_masks(storage, 8, 4, CLASSES)
    storage.write(shard_key(1), encode_shard(planes(4), 4))
    monkeypatch.setattr(s3, "FAULTS", ("cut off",))
    monkeypatch.setattr("cascade.storage.object_store._N_ATTEMPTS", 50)
    monkeypatch.setattr("cascade.storage.object_store._FIRST_PAUSE_S", 0.0)
    s3.share = 0.3
    np.testing.assert_array_equal(read_planes(storage, 3, 8), np.concatenate([np.zeros((1, 400, 400)), planes(4)]))
    assert s3.n_faults["cut off"] > 0
