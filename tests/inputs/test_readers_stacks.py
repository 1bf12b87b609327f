from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr
from reader_files import expnums, paths, preview, write, write_zarr

from cascade.core.errors import InputError
from cascade.core.exposure import HeaderFields
from cascade.inputs import open_inputs

# .npy stacks


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u2", "i8", "f2", "<f4", ">f8"])
def test_stack_of_whole_numbers_of_any_type_is_converted(tmp_path, dtype):
    np.save(tmp_path / "x.npy", np.stack([preview(0), preview(1)]).astype(dtype))
    np.testing.assert_array_equal(open_inputs(tmp_path / "x.npy").read(1).image, preview(1))


def test_stack_in_column_order_is_read(tmp_path):
    np.save(tmp_path / "x.npy", np.asfortranarray(np.stack([preview(0), preview(1)])))
    np.testing.assert_array_equal(open_inputs(tmp_path / "x.npy").read(1).image, preview(1))


@pytest.mark.parametrize("value", [0.5, -1, 256, np.nan, np.inf])
def test_levels_that_are_no_bytes_spoil_their_exposure_only(tmp_path, value):
    images = np.stack([preview(0), preview(1)]).astype(np.float32)
    images[0, 3, 4] = value
    np.save(tmp_path / "x.npy", images)
    reader = open_inputs(tmp_path / "x.npy")
    with pytest.raises(InputError, match=rf"x\.npy\[0\]: expected whole grey levels from 0 to 255, got {value}"):
        reader.read(0)
    np.testing.assert_array_equal(reader.read(1).image, preview(1))


@pytest.mark.parametrize("shape", [(400, 400), (2, 400, 401), (2, 400, 400, 1), (160_000,), ()])
def test_stack_of_another_shape_is_refused(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=r"x\.npy: expected a stack of shape \(N, 400, 400\), got \("):
        open_inputs(tmp_path / "x.npy")


@pytest.mark.parametrize("dtype", ["bool", "c8", "S1"])
def test_stack_of_no_numbers_is_refused(tmp_path, dtype):
    np.save(tmp_path / "x.npy", np.zeros((1, 400, 400), dtype))
    with pytest.raises(InputError, match=r"x\.npy: expected a stack of numbers, got dtype"):
        open_inputs(tmp_path / "x.npy")


def test_empty_stack_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((0, 400, 400), np.uint8))
    with pytest.raises(InputError, match="expected a stack of previews, got none"):
        open_inputs(tmp_path / "x.npy")


class Boom:
    """Ends the test if it is ever unpickled."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_stack_of_pickled_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([Boom()], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"x\.npy: expected a complete .npy array of plain values, not Python objects"):
        open_inputs(tmp_path / "x.npy")


@pytest.mark.parametrize("data", [b"", pickle.dumps(Boom()), b"PK\x03\x04"])
def test_file_that_is_no_npy_is_refused(tmp_path, data):
    with pytest.raises(InputError, match=r"x\.npy: expected a \.npy array, got a file that starts with b'"):
        open_inputs(write(tmp_path / "x.npy", data))


@pytest.mark.parametrize("kept", [8, 40, 1000])
def test_truncated_stack_is_refused(tmp_path, kept):
    np.save(tmp_path / "x.npy", preview()[None])
    os.truncate(tmp_path / "x.npy", kept)
    with pytest.raises(InputError, match=r"x\.npy: expected a complete \.npy array of plain values"):
        open_inputs(tmp_path / "x.npy")


def test_stack_that_changed_or_vanished_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 400, 400), np.uint8))
    reader = open_inputs(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.zeros((2, 400, 400), np.uint8))
    with pytest.raises(InputError, match=r"x\.npy\[2\]: the stack now has 2 images only"):
        reader.read(2)
    (tmp_path / "x.npy").unlink()
    with pytest.raises(InputError, match=r"x\.npy\[0\]: No such file or directory$"):
        reader.read(0)


def stack_with_ids(folder: Path, ids: np.ndarray, **options) -> Path:
    np.save(folder / "x_train.npy", np.zeros((3, 400, 400), np.uint8))
    np.save(folder / "z_train.npy", ids, **options)
    return folder / "x_train.npy"


@pytest.mark.parametrize(
    ("dtype", "rows", "bands"),
    [
        ([("a", "U9"), ("b", "U4"), ("c", "U1")], [("D00360471", "2014", "g"), ("D00360472", "2015", "Y")], "gY"),
        (
            [("year", "S4"), ("filter", "S1"), ("id", "S9")],
            [("2014", "r", "D00360471"), ("2015", "i", "D00360472")],
            "ri",
        ),
        (
            [("year", ">i4"), ("number", "U6"), ("FILTER", "U2")],
            [(2014, "360471", "VR"), (2015, "360472", "g")],
            ["VR", "g"],
        ),
        ([("nite", "U8"), ("exposure", "U8")], [("20121101", "360471"), ("20121102", "360472")], [None, None]),
        ([("nite", "i4"), ("exposure", "i4")], [(20121101, 360471), (20121102, 360472)], [None, None]),
        ([("exposure", "f4"), ("EXPID", "f8")], [(90, 360471), (30, 360472)], [None, None]),
        ([("when", "M8[D]"), ("ExpNum", ">i4")], [("2014-01-01", 360471), ("2014-01-02", 360472)], [None, None]),
    ],
)
def test_identities_beside_a_stack_are_found_by_content_or_name(tmp_path, dtype, rows, bands):
    reader = open_inputs(stack_with_ids(tmp_path, np.array([*rows, rows[0]], dtype)))
    assert expnums(reader) == [360471, 360472, 360471]
    assert [reader.source(k).header.band for k in range(2)] == list(bands)


def test_stack_without_identities_has_no_expnums_whatever_its_name(tmp_path):
    np.save(tmp_path / "x_D00360471.npy", np.zeros((1, 400, 400), np.uint8))
    assert expnums(open_inputs(tmp_path / "x_D00360471.npy")) == [None]


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (np.zeros(2, [("expnum", "i4")]), r"expected 3 rows, as many as .*x_train\.npy has images, got shape \(2,\)"),
        (np.zeros((3, 2)), "expected a structured array of exposure numbers, got dtype float64"),
        (np.zeros(3, [("year", "i4"), ("s", "U9")]), "like 'D00360471', got the fields year, s"),
        (np.array([(b"\xff",)] * 3, [("s", "S1")]), "cannot read its fields: [Ii]nvalid UTF"),
        (np.array([(2**31,)] * 3, [("s", "u4")]).view([("s", "U1")]), "cannot read its fields: "),
        (np.array([(b"\xff" * 32,)] * 3, [("expnum", "S32")]).view([("expnum", "U8")]), "cannot read its fields: "),
        (np.array([("20121101",)] * 3, [("nite", "U8")]), "like 'D00360471', got the fields nite"),
        (np.array([("57828",)] * 3, [("mjd", "U5")]), "like 'D00360471', got the fields mjd"),
    ],
)
def test_identities_that_do_not_fit_are_refused(tmp_path, ids, problem):
    with pytest.raises(InputError, match=rf"z_train\.npy: .*{problem}"):
        open_inputs(stack_with_ids(tmp_path, ids))


def test_identities_of_pickled_objects_are_never_unpickled(tmp_path):
    ids = np.array([(Boom(),)] * 3, [("expnum", object)])
    with pytest.raises(
        InputError, match=r"z_train\.npy: expected a complete .npy array of plain values, not Python objects"
    ):
        open_inputs(stack_with_ids(tmp_path, ids, allow_pickle=True))


# Zarr stores of previews


def test_zarr_group_gives_the_header_facts(tmp_path):
    store = write_zarr(
        tmp_path / "store.zarr",
        expnum=np.array([360471, -1, 360473]),
        band=np.array(["g", "", "Y"], np.dtypes.StringDType()),
        mjd_obs=np.array([56900.25, np.nan, 56901]),
        ra=np.array([10, 20, 30], np.float32),
        exptime=np.array([90, 90, 45], np.int16),
    )
    reader = open_inputs(store)
    assert expnums(reader) == [360471, None, 360473]
    assert reader.source(0).header == HeaderFields("g", 56900.25, 10.0, None, 90.0)
    assert reader.source(1).header == HeaderFields(None, None, 20.0, None, 90.0)
    assert paths(reader)[2] == f"{store}[2]"


def test_zarr_array_is_read_whatever_the_name_of_its_folder(tmp_path):
    zarr.save_array(tmp_path / "previews", np.stack([preview(0), preview(1)]), zarr_format=3)
    np.testing.assert_array_equal(open_inputs(tmp_path / "previews").read(1).image, preview(1))


def test_sharded_zarr_array_is_read(tmp_path):
    array = zarr.create_array(
        tmp_path / "s.zarr", shape=(4, 400, 400), chunks=(1, 400, 400), shards=(4, 400, 400), dtype="uint8"
    )
    array[:] = np.stack([preview(k) for k in range(4)])
    np.testing.assert_array_equal(open_inputs(tmp_path / "s.zarr").read(3).image, preview(3))


def test_preview_whose_chunk_is_missing_is_an_error_and_no_dark_sky(tmp_path):
    reader = open_inputs(write_zarr(tmp_path / "s.zarr"))
    (tmp_path / "s.zarr").rename(tmp_path / "elsewhere.zarr")
    problem = r"s\.zarr\[1\]: expected a preview, got none or a part: its chunk c/1/0/0 is missing"
    with pytest.raises(InputError, match=problem) as caught:
        reader.read(1)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize(
    ("chunks", "fill", "version", "lost"),
    [
        ((1, 400, 400), 52, 3, "c/1/0/0"),
        ((1, 400, 400), 255, 2, "1.0.0"),
        ((1, 200, 200), 0, 3, "c/1/0/1"),
        ((2, 100, 400), 23, 2, "0.2.0"),
        ((3, 150, 150), 7, 3, "c/0/2/2"),
    ],
)
def test_missing_chunk_is_named_whatever_its_fill_value(tmp_path, chunks, fill, version, lost):
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=version)
    array = group.create_array("preview", shape=(3, 400, 400), chunks=chunks, dtype="uint8", fill_value=fill)
    array[:] = np.stack([preview(k) for k in range(3)])
    (tmp_path / "s.zarr" / "preview" / lost).unlink()
    with pytest.raises(InputError, match=rf"s\.zarr\[1\]: .* its chunk {lost} is missing"):
        open_inputs(tmp_path / "s.zarr").read(1)


def test_chunk_that_is_missing_in_a_shard_is_refused(tmp_path):
    array = zarr.create_array(
        tmp_path / "s.zarr",
        shape=(2, 400, 400),
        chunks=(1, 200, 200),
        shards=(2, 400, 400),
        dtype="uint8",
        fill_value=9,
    )
    images = np.stack([preview(0), preview(1)])
    images[1, :200, :200] = 9  # which Zarr leaves out
    array[:] = images
    reader = open_inputs(tmp_path / "s.zarr")
    np.testing.assert_array_equal(reader.read(0).image, preview(0))
    with pytest.raises(InputError, match=r"s\.zarr\[1\]: .* its chunk c/0/0/0 is missing"):
        reader.read(1)


def test_chunk_without_ccds_may_be_left_out_as_empty(tmp_path):
    images = preview()[None].copy()
    images[0, :20, :20] = 23
    array = zarr.create_array(
        tmp_path / "s.zarr", shape=(1, 400, 400), chunks=(1, 20, 20), dtype="uint8", fill_value=23
    )
    array[:] = images
    assert not (tmp_path / "s.zarr" / "c" / "0" / "0" / "0").exists()
    np.testing.assert_array_equal(open_inputs(tmp_path / "s.zarr").read(0).image, images[0])


def test_folder_that_is_no_zarr_store_is_refused(tmp_path):
    (tmp_path / "s.zarr").mkdir()
    with pytest.raises(InputError, match=r"s\.zarr: expected a Zarr store of previews: ."):
        open_inputs(tmp_path / "s.zarr")


def test_zarr_store_with_damaged_metadata_is_refused(tmp_path):
    store = write_zarr(tmp_path / "s.zarr")
    (store / "preview" / "zarr.json").write_text("{}")
    with pytest.raises(InputError, match=r"s\.zarr: expected a Zarr store of previews: ."):
        open_inputs(store)


def test_zarr_group_without_previews_is_refused(tmp_path):
    zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=3).create_array("expnum", data=np.arange(3))
    with pytest.raises(InputError, match=r"expected a Zarr group with an array 'preview', got \['expnum'\]"):
        open_inputs(tmp_path / "s.zarr")


@pytest.mark.parametrize(
    ("shape", "chunks", "dtype", "problem"),
    [
        ((2, 400, 401), (1, 400, 401), "uint8", r"expected a stack of shape \(N, 400, 400\), got \(2, 400, 401\)"),
        ((2, 400, 400), (1, 400, 400), "uint16", "expected uint8 previews, got uint16"),
        ((2, 400, 400), (1, 400, 400), "bool", "expected a stack of numbers, got dtype bool"),
        ((0, 400, 400), (1, 400, 400), "uint8", "expected a stack of previews, got none"),
        ((500, 400, 400), (500, 400, 400), "uint8", "expected chunks of at most 64 MiB, got .*: rechunk it"),
    ],
)
def test_zarr_array_that_is_no_stack_of_previews_is_refused(tmp_path, shape, chunks, dtype, problem):
    zarr.create_array(tmp_path / "s.zarr", shape=shape, chunks=chunks, dtype=dtype)
    with pytest.raises(InputError, match=rf"s\.zarr: {problem}"):
        open_inputs(tmp_path / "s.zarr")


def test_zarr_header_array_of_another_length_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected 'expnum' of shape \(3,\), like the previews, got \(2,\)"):
        open_inputs(write_zarr(tmp_path / "s.zarr", expnum=[1, 2]))


def test_zarr_group_in_place_of_a_header_array_is_refused(tmp_path):
    store = write_zarr(tmp_path / "s.zarr")
    zarr.open_group(store, mode="a").create_group("expnum")
    with pytest.raises(InputError, match=r"expected 'expnum' of shape \(3,\), like the previews, got a group"):
        open_inputs(store)


def test_zarr_header_value_that_makes_no_sense_is_unknown(tmp_path, caplog):
    assert expnums(open_inputs(write_zarr(tmp_path / "s.zarr", expnum=[1.0, 1.5, 2.0]))) == [1, None, 2]
    assert "expnum: 1 of 3 values taken for unknown, the first in row 2" in caplog.text


def damage_chunks(array: Path) -> None:
    for chunk in (array / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"garbage")


def test_damaged_zarr_header_array_is_refused(tmp_path):
    store = write_zarr(tmp_path / "s.zarr", expnum=[1, 2, 3])
    damage_chunks(store / "expnum")
    with pytest.raises(InputError, match=r"s\.zarr: cannot read 'expnum': ."):
        open_inputs(store)


def test_damaged_zarr_chunk_is_refused(tmp_path):
    store = write_zarr(tmp_path / "s.zarr")
    damage_chunks(store / "preview")
    with pytest.raises(InputError, match=r"s\.zarr\[1\]: cannot read the preview: ."):
        open_inputs(store).read(1)


def count_calls(monkeypatch) -> list[object]:
    """What the arrays of Zarr are asked for from now on."""
    asked: list[object] = []
    get = zarr.Array.__getitem__

    def counting(array, selection):
        asked.append(selection)
        return get(array, selection)

    monkeypatch.setattr(zarr.Array, "__getitem__", counting)
    return asked


def test_zarr_previews_are_read_in_blocks(tmp_path, monkeypatch):
    reader = open_inputs(write_zarr(tmp_path / "s.zarr", 40))
    asked = count_calls(monkeypatch)
    for number in range(40):
        image = reader.read(number).image
        np.testing.assert_array_equal(image, preview(number))
        assert image.base is None
    assert asked == [slice(0, 32), slice(32, 40)]


def test_a_preview_that_is_read_again_comes_from_the_store(tmp_path):
    reader = open_inputs(write_zarr(tmp_path / "s.zarr"))
    first = reader.read(1).image
    damage_chunks(tmp_path / "s.zarr" / "preview")
    np.testing.assert_array_equal(reader.read(2).image, preview(2))  # read along with the first
    with pytest.raises(InputError, match=r"s\.zarr\[1\]: cannot read the preview: ."):
        reader.read(1)
    np.testing.assert_array_equal(first, preview(1))


def test_a_damaged_chunk_spoils_none_of_its_block(tmp_path):
    reader = open_inputs(write_zarr(tmp_path / "s.zarr", 5))
    (tmp_path / "s.zarr" / "preview" / "c" / "2" / "0" / "0").write_bytes(b"garbage")
    for number in (0, 1, 3, 4):
        np.testing.assert_array_equal(reader.read(number).image, preview(number))
    with pytest.raises(InputError, match=r"s\.zarr\[2\]: cannot read the preview: ."):
        reader.read(2)


def test_a_pickled_reader_of_a_zarr_store_leaves_images_behind(tmp_path):
    reader = open_inputs(write_zarr(tmp_path / "s.zarr"))
    reader.read(0)
    assert len(pickle.dumps(reader)) < 400 * 400
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read(1).image, preview(1))


def test_stack_of_more_exposures_than_there_are_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.inputs.stacks.MAX_EXPOSURES", 2)
    np.save(tmp_path / "x.npy", np.zeros((3, 400, 400), np.uint8))
    with pytest.raises(InputError, match=r"x\.npy: expected at most 2 previews, got 3"):
        open_inputs(tmp_path / "x.npy")
