"""Tests of cascade.runs.masks."""

import numpy as np
import zarr

from cascade.core.artifact import PAPER_CLASSES
from cascade.runs.classes import RunClass
from cascade.runs.masks import FOLDER, create_masks, encode_shard, is_created, open_masks, read_planes, shard_key
from cascade.storage.places import open_storage

CLASSES = RunClass.of(PAPER_CLASSES)


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
    assert attributes == {"flag_masks": [1, 2, 4, 128], "flag_meanings": "bright faint rays spot"}


def test_planes_are_read_though_the_store_breaks_off(s3, s3_folder, monkeypatch):
    storage = open_storage(s3_folder)
    create_masks(storage, 8, 4, CLASSES)
    storage.write(shard_key(1), encode_shard(planes(4), 4))
    monkeypatch.setattr(s3, "FAULTS", ("cut off",))
    monkeypatch.setattr("cascade.storage.places._N_ATTEMPTS", 50)
    monkeypatch.setattr("cascade.storage.places._FIRST_PAUSE_S", 0.0)
    s3.share = 0.3
    np.testing.assert_array_equal(read_planes(storage, 3, 8), np.concatenate([np.zeros((1, 400, 400)), planes(4)]))
    assert s3.n_faults["cut off"] > 0
