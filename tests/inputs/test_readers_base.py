from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from reader_files import one_of_each, paths, preview

from cascade.inputs import expnum_from_name, open_inputs


def test_reader_gives_the_previews_in_order(reader):
    assert len(reader) == 3
    for k in range(3):
        np.testing.assert_array_equal(reader.read(k).image, preview(k))


def test_image_is_contiguous_and_owns_its_memory(reader):
    image = reader.read(2).image
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.owndata
    assert image.flags.writeable
    assert type(image) is np.ndarray


def test_source_of_an_exposure_is_the_same_with_and_without_pixels(reader):
    assert reader.read(1).source == reader.source(1)


@pytest.mark.parametrize("bounds", [(0, 3), (1, 3), (0, 1), (2, 3), (1, 1), (0, 0), (3, 3)])
def test_part_that_was_pickled_reads_what_the_whole_reads(reader, bounds):
    start, stop = bounds
    part = pickle.loads(pickle.dumps(reader.part(start, stop)))
    assert len(part) == stop - start
    assert paths(part) == paths(reader)[start:stop]
    for k in range(len(part)):
        np.testing.assert_array_equal(part.read(k).image, reader.read(start + k).image)


def test_part_of_a_part_counts_from_the_part(reader):
    assert paths(reader.part(1, 3).part(1, 2)) == paths(reader)[2:3]


@pytest.mark.parametrize("index", [-1, 3])
def test_index_out_of_range_is_refused(reader, index):
    with pytest.raises(IndexError, match=f"exposure {index}: the reader has 3"):
        reader.source(index)
    with pytest.raises(IndexError, match=f"exposure {index}: the reader has 3"):
        reader.read(index)


@pytest.mark.parametrize("bounds", [(-1, 2), (2, 1), (0, 4)])
def test_part_out_of_range_is_refused(reader, bounds):
    with pytest.raises(IndexError, match=f"part {bounds[0]}:{bounds[1]}: the reader has 3 exposures"):
        reader.part(*bounds)


def test_reader_of_relative_paths_works_from_another_folder(tmp_path, monkeypatch):
    one_of_each(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = ["night", "night/*.png", "night/D00000001.png", "set.zip", "x_stack.npy", "store.zarr", "manifest.csv"]
    reader = open_inputs(names)
    monkeypatch.chdir("/")
    moved = pickle.loads(pickle.dumps(reader.part(0, len(reader))))
    assert len(moved) == 19
    for k in range(len(moved)):
        moved.read(k)
    assert [moved.source(k).path for k in (0, 3, 6, 7, 10, 13, 16)] == [
        "night/D00000000.png",
        "night/D00000000.png",
        "night/D00000001.png",
        "set.zip!D00000000.png",
        "x_stack.npy[0]",
        "store.zarr[0]",
        "night/D00000000.png",
    ]


def test_part_of_a_chain_may_span_readers(tmp_path):
    inputs = one_of_each(tmp_path)
    reader = open_inputs([inputs["npy"], inputs["zip"], inputs["zarr"]])
    assert paths(reader.part(2, 7)) == paths(reader)[2:7]


@pytest.mark.parametrize(
    ("name", "expnum"),
    [
        ("Ghost_img_D00158660.jpg", 158660),
        ("D00158776_g_c01_r2345p01.png", 158776),
        ("D00000001/D00158776.jpg", 158776),
        ("D00000001_D00000002.jpg", 2),
        ("D158660.jpg", 158660),
        ("D123456789.jpg", 123456789),
        ("exposure-0158660-v12.jpg", 158660),
        ("2013/158660.jpg", 158660),
        ("MC_O_2024110800123.png", 2024110800123),
        ("c4d_180908_000426_ooi_g.png", None),
        ("img_123.jpg", None),
        ("IMG_2021.jpg", None),
        ("20121101_ghost.jpg", None),
        ("20121101_145507.jpg", None),
        ("20121101_630780.jpg", 630780),
        ("170316_062107_z.png", None),
        ("062107_170316.png", None),
        ("20170316T062107_z.png", None),
        ("2017-03-16_062107.png", None),
        ("20170316_062107_630780.png", 630780),
        ("ghost_20121101235959.jpg", None),
        ("C4D_170316_062107_OOI_Z_LS9.JPG", None),
        ("k4m_160203_074021_ooi.png", None),
        ("decam-170316-062107.png", None),
        ("mjd57828.26285.png", None),
        ("57828_630780_z.png", 630780),
        ("preview_630780_57828.jpg", 630780),
        ("jd2457828.7643.png", None),
        ("1489645267.png", None),
        ("158776.00001.png", 158776),
        ("d00158776.png", 158776),
        ("D20170316_z.png", None),
        ("D00000000.png", None),
        ("170316.png", 170316),
        ("ghost.jpg", None),
        ("99999999999999999999.jpg", None),
        ("20131231/ghost.jpg", None),
    ],
)
def test_expnum_is_found_in_the_name(name, expnum):
    assert expnum_from_name(name) == expnum


def test_part_of_a_long_listing_is_small(tmp_path):
    names = pa.array([f"night/D{k:08d}.jpg" for k in range(50_000)])
    pyarrow.parquet.write_table(pa.table({"path": names}), tmp_path / "all.parquet")
    reader = open_inputs(tmp_path / "all.parquet")
    assert len(pickle.dumps(reader.part(40_000, 40_010))) < 4000
    assert reader.part(40_000, 40_010).source(3).expnum == 40_003
