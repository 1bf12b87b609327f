from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import zarr
from PIL import Image

from cascade.errors import InputError
from cascade.exposure import HeaderFacts
from cascade.readers import Reader, expnum_from_name, open_inputs
from cascade.readers.base import chain
from cascade.readers.decode import MAX_BYTES, decode_image

DATA = Path(os.environ.get("CASCADE_DATA", Path(__file__).parents[2] / "shared" / "data"))


def preview(number: int = 0) -> np.ndarray:
    """A gradient that differs from image to image."""
    rows, columns = np.mgrid[:400, :400]
    return ((rows // 2 + columns // 4 + 10 * number) % 256).astype(np.uint8)


def encode(image: np.ndarray | Image.Image, format_: str = "PNG", **options) -> bytes:
    stream = BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, format_, **options)
    return stream.getvalue()


def write(path: Path, data: bytes | np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(data) if isinstance(data, np.ndarray) else data)
    return path


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ]
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def patch_directory(path: Path, offset: int, value: bytes) -> None:
    """Overwrite bytes of the central directory entry of the first member."""
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)


def write_zarr(path: Path, n: int = 3, **columns) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("preview", data=np.stack([preview(k) for k in range(n)]), chunks=(1, 400, 400))
    for name, values in columns.items():
        group.create_array(name, data=np.asarray(values))
    return path


def paths(reader: Reader) -> list[str]:
    return [reader.source(k).path for k in range(len(reader))]


def expnums(reader: Reader) -> list[int | None]:
    return [reader.source(k).expnum for k in range(len(reader))]


def one_of_each(folder: Path) -> dict[str, Path]:
    """One input of every kind, each with the previews 0, 1 and 2."""
    names = [f"D{k:08d}.png" for k in range(3)]
    for k, name in enumerate(names):
        write(folder / "night" / name, preview(k))
    stack = folder / "x_stack.npy"
    np.save(stack, np.stack([preview(k) for k in range(3)]))
    manifest = folder / "manifest.csv"
    manifest.write_text("expnum,path\n" + "".join(f"{k},night/{name}\n" for k, name in enumerate(names)))
    return {
        "folder": folder / "night",
        "pattern": folder / "night" / "*.png",
        "zip": write_zip(folder / "set.zip", {name: encode(preview(k)) for k, name in enumerate(names)}),
        "npy": stack,
        "zarr": write_zarr(folder / "store.zarr"),
        "csv": manifest,
    }


@pytest.fixture(params=["folder", "pattern", "zip", "npy", "zarr", "csv", "chain"])
def reader(request, tmp_path) -> Reader:
    inputs = one_of_each(tmp_path)
    if request.param == "chain":
        return chain([open_inputs(inputs["npy"]).part(0, 2), open_inputs(inputs["folder"]).part(2, 3)])
    return open_inputs([inputs[request.param]])


# Every kind of reader


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


# Which reader opens which input


def test_inputs_are_read_in_the_order_given(tmp_path):
    inputs = one_of_each(tmp_path)
    night = inputs["folder"]
    reader = open_inputs([inputs["npy"], night / "D00000002.png", night / "D00000000.png", str(night)])
    assert paths(reader)[:5] == [*(f"{inputs['npy']}[{k}]" for k in range(3)), *paths(reader)[3:5]]
    assert expnums(reader) == [None, None, None, 2, 0, 0, 1, 2]


def test_part_of_a_chain_may_span_readers(tmp_path):
    inputs = one_of_each(tmp_path)
    reader = open_inputs([inputs["npy"], inputs["zip"], inputs["zarr"]])
    assert paths(reader.part(2, 7)) == paths(reader)[2:7]


def test_single_path_needs_no_list(tmp_path):
    path = write(tmp_path / "D00158776.png", preview())
    assert expnums(open_inputs(path)) == expnums(open_inputs(str(path))) == [158776]


def test_no_input_is_refused():
    with pytest.raises(InputError, match="expected at least one: a folder of images"):
        open_inputs([])


@pytest.mark.parametrize("name", ["nothing", "nothing.jpg", "nothing.zip", "nothing.npy", "nothing.zarr", "a\0b"])
def test_missing_input_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="no such file or folder"):
        open_inputs([tmp_path / name])


@pytest.mark.parametrize("name", ["a.npz", "a.pkl", "a.txt", "a", "a.fits"])
def test_unknown_kind_is_refused_with_a_list_of_the_known(tmp_path, name):
    path = write(tmp_path / name, pickle.dumps("never loaded"))
    with pytest.raises(InputError, match=r"a folder of images, .* a \.zip .* a manifest \(\.csv, \.parquet\)"):
        open_inputs([path])


def test_input_that_may_not_be_looked_at_is_refused(tmp_path):
    with pytest.raises(InputError, match="File name too long"):
        open_inputs([tmp_path / ("x" * 300)])


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
        ("ghost.jpg", None),
        ("99999999999999999999.jpg", None),
        ("20131231/ghost.jpg", None),
    ],
)
def test_expnum_is_found_in_the_name(name, expnum):
    assert expnum_from_name(name) == expnum


# Folders, patterns and single images


def test_folder_is_listed_by_relative_path_and_only_its_images(tmp_path):
    for name in ["b.JPG", "a/z.jpeg", "a/y.Png", "c.txt", "._b.jpg", "a.zip", "d.jpg.part", "__MACOSX/e.jpg"]:
        write(tmp_path / name, b"garbage")
    assert paths(open_inputs(tmp_path)) == [str(tmp_path / name) for name in ("a/y.Png", "a/z.jpeg", "b.JPG")]


def test_listing_does_not_open_the_files(tmp_path, monkeypatch):
    for k in range(3):
        write(tmp_path / f"D{k:08d}.jpg", b"garbage")

    def refuse(*arguments, **options):
        pytest.fail("a file was opened")

    monkeypatch.setattr(Path, "open", refuse)
    reader = open_inputs([tmp_path, tmp_path / "*.jpg", tmp_path / "D00000001.jpg"])
    assert expnums(reader) == [0, 1, 2, 0, 1, 2, 1]


def test_part_of_a_long_listing_is_small(tmp_path):
    names = pa.array([f"night/D{k:08d}.jpg" for k in range(50_000)])
    pyarrow.parquet.write_table(pa.table({"path": names}), tmp_path / "all.parquet")
    reader = open_inputs(tmp_path / "all.parquet")
    assert len(pickle.dumps(reader.part(40_000, 40_010))) < 4000
    assert reader.part(40_000, 40_010).source(3).expnum == 40_003


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected a folder with images \(\.jpg, \.jpeg, \.png\), found none"):
        open_inputs(tmp_path)


def test_folder_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=f"{tmp_path}: Permission denied"):
        open_inputs(tmp_path)


def test_pattern_matches_images_in_any_folder(tmp_path):
    for name in ["n1/b.jpg", "n1/a.png", "n2/c.jpg", "n2/c.txt"]:
        write(tmp_path / name, b"garbage")
    found = paths(open_inputs(tmp_path / "**" / "[abc].*"))
    assert found == [str(tmp_path / name) for name in ("n1/a.png", "n1/b.jpg", "n2/c.jpg")]


def test_pattern_without_a_match_is_refused(tmp_path):
    write(tmp_path / "a.txt", b"no image")
    with pytest.raises(InputError, match=r"\*: no such file, and the pattern matches no image"):
        open_inputs(tmp_path / "*")


def test_file_with_the_name_of_a_pattern_is_a_file(tmp_path):
    path = write(tmp_path / "D00158776[1].png", preview())
    assert paths(open_inputs(path)) == [str(path)]


def test_name_that_is_not_text_is_shown_escaped_and_read(tmp_path):
    name = os.fsencode(tmp_path) + b"/a\xff\n.png"
    Path(os.fsdecode(name)).write_bytes(encode(preview(1)))
    reader = open_inputs(tmp_path)
    assert paths(reader) == [f"{tmp_path}/a\\udcff\\n.png"]
    np.testing.assert_array_equal(reader.read(0).image, preview(1))


def test_message_stays_on_one_line_whatever_the_name(tmp_path):
    write(tmp_path / "a\nb\u2028c.jpg", b"x\ny")
    with pytest.raises(InputError, match="JPEG or PNG") as caught:
        open_inputs(tmp_path).read(0)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/a\\nb\\u2028c.jpg: expected a JPEG or PNG image, got a file that starts with b'x\\ny'"
    ]


def test_file_that_vanished_is_refused(tmp_path):
    path = write(tmp_path / "D00158776.png", preview())
    reader = open_inputs(path)
    path.unlink()
    with pytest.raises(InputError, match=f"{path}: no such file"):
        reader.read(0)


def test_pipe_with_the_name_of_an_image_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg: not a file"):
        open_inputs(tmp_path).read(0)


def test_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    reader = open_inputs(write(tmp_path / "a.jpg", b"secret"))

    def refuse(path, *arguments):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"a\.jpg: Permission denied$"):
        reader.read(0)


def test_file_larger_than_any_preview_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(InputError, match="expected an image of at most 64 MiB, got a larger file"):
        open_inputs(path).read(0)


# Decoding


def test_jpeg_in_colour_gives_its_luma():
    colours = np.zeros((400, 400, 3), np.uint8)
    colours[..., 0] = 200
    image = decode_image(encode(colours, "JPEG", quality=100, subsampling=0), "a.jpg")
    assert abs(int(image[200, 200]) - round(0.299 * 200)) <= 1  # ITU-R BT.601


def test_grey_jpeg_saved_as_rgb_gives_the_same_as_one_saved_as_grey():
    grey = Image.fromarray(preview())
    np.testing.assert_array_equal(
        decode_image(encode(grey.convert("RGB"), "JPEG"), "a"), decode_image(encode(grey, "JPEG"), "a")
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_grey_png_of_any_mode_keeps_its_levels(mode):
    image = decode_image(encode(Image.fromarray(preview()).convert(mode)), "a.png")
    np.testing.assert_array_equal(image, preview())


def test_png_in_colour_is_refused():
    image = Image.fromarray(preview()).convert("RGB")
    image.putpixel((7, 7), (255, 0, 0))
    with pytest.raises(InputError, match=r"a\.png: expected a grey image, got a PNG in colour or transparent"):
        decode_image(encode(image), "a.png")


def test_transparent_png_is_refused():
    image = Image.fromarray(preview()).convert("LA")
    image.putpixel((7, 7), (5, 0))
    with pytest.raises(InputError, match="in colour or transparent"):
        decode_image(encode(image), "a.png")


def test_jpeg_for_print_is_refused():
    with pytest.raises(InputError, match="expected a grey or RGB image, got a CMYK JPEG"):
        decode_image(encode(Image.new("CMYK", (400, 400)), "JPEG"), "a.jpg")


@pytest.mark.parametrize(("mode", "bits"), [("I;16", 16), ("1", 1)])
def test_png_of_another_depth_is_refused(mode, bits):
    with pytest.raises(InputError, match=rf"a\.png: expected 8-bit grey levels, got a {bits}-bit PNG"):
        decode_image(encode(Image.new(mode, (400, 400))), "a.png")


@pytest.mark.parametrize("size", [(401, 400), (400, 300), (10_000, 10_000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_size_is_refused_before_any_pixel_is_decoded(size):
    tracemalloc.start()
    with pytest.raises(InputError, match=f"expected a 400x400 focal-plane image, got {size[0]}x{size[1]}"):
        decode_image(png_of_size(*size), "a.png")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_jpeg_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"^a\.jpg: expected a 400x400 focal-plane image, got 20x10$"):
        decode_image(encode(np.zeros((10, 20), np.uint8), "JPEG"), "a.jpg")


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_image_is_refused(format_, kept):
    data = encode(preview(), format_)
    with pytest.raises(InputError, match=f"^a: truncated or damaged {format_}: ."):
        decode_image(data[: int(len(data) * kept)], "a")


def test_image_that_ends_in_its_header_is_refused():
    with pytest.raises(InputError, match="truncated or damaged PNG"):
        decode_image(encode(preview())[:20], "a")


def test_text_is_refused():
    with pytest.raises(
        InputError, match=r"^a\.jpg: expected a JPEG or PNG image, got a file that starts with b'hello'$"
    ):
        decode_image(b"hello", "a.jpg")


def test_empty_file_is_refused():
    with pytest.raises(InputError, match=r"^a\.jpg: expected a JPEG or PNG image, got an empty file$"):
        decode_image(b"", "a.jpg")


def test_other_image_formats_are_refused():
    with pytest.raises(InputError, match="expected a JPEG or PNG image, got a file that starts with b'GIF"):
        decode_image(encode(preview(), "GIF"), "a.jpg")


@pytest.mark.parametrize(("format_", "mode"), [("JPEG", "L"), ("PNG", "L"), ("PNG", "P")])
def test_damaged_bytes_give_an_image_or_one_line(format_, mode):
    good = encode(Image.fromarray(preview() // 64).convert(mode), format_)
    rng = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(good)
        for at in rng.integers(len(data) if rng.random() < 0.5 else 60, size=3):
            data[at] = rng.integers(256)
        try:
            message = "a: " * (decode_image(bytes(data), "a").shape == (400, 400))
        except InputError as error:
            message = str(error)
        assert message.startswith("a: ")
        assert len(message.splitlines()) == 1


# Zip archives


def test_zip_lists_its_images_sorted_without_shadows(tmp_path):
    members = ["b/D00000002.jpg", "a.PNG", "__MACOSX/._a.png", "b/._D00000002.jpg", "readme.txt", "folder.jpg/"]
    archive = write_zip(tmp_path / "set.zip", dict.fromkeys(members, b""))
    reader = open_inputs(archive)
    assert paths(reader) == [f"{archive}!a.PNG", f"{archive}!b/D00000002.jpg"]
    assert expnums(reader) == [None, 2]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_member_is_read_stored_or_deflated(tmp_path, method):
    archive = write_zip(tmp_path / "set.zip", {"a.png": encode(preview(4))}, method)
    np.testing.assert_array_equal(open_inputs(archive).read(0).image, preview(4))


def test_member_name_that_climbs_is_shown_and_never_written(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    archive = write_zip(folder / "set.zip", {"../../evil.png": encode(preview()), "/etc/evil.png": encode(preview())})
    reader = open_inputs(archive)
    assert paths(reader) == [f"{archive}!../../evil.png", f"{archive}!/etc/evil.png"]
    for k in range(2):
        reader.read(k)
    assert sorted(tmp_path.rglob("*")) == [folder, archive]


def test_zip_bomb_is_refused_before_it_is_read(tmp_path):
    archive = write_zip(tmp_path / "set.zip", {"a.png": bytes(MAX_BYTES + 1)})
    assert archive.stat().st_size < 2**20
    reader = open_inputs(archive)
    with pytest.raises(InputError, match=r"set\.zip!a\.png: expected an image of at most 64 MiB, got 67108865 bytes"):
        reader.read(0)


def test_zip_bomb_with_a_lying_header_takes_no_memory(tmp_path):
    archive = write_zip(tmp_path / "set.zip", {"a.png": bytes(MAX_BYTES + 1)})
    patch_directory(archive, 24, struct.pack("<I", 1000))  # uncompressed size
    reader = open_inputs(archive)
    tracemalloc.start()
    with pytest.raises(InputError, match="damaged member: its size or checksum is not what the archive says"):
        reader.read(0)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("offset", "value", "problem"),
    [
        (8, b"\x01\x00", "expected a plain member, got an encrypted one"),
        (10, b"\x63\x00", "expected a stored or deflated member, got compression method 99"),
        (16, b"\0\0\0\0", "damaged member: its size or checksum"),
        (20, b"\x10\0\0\0", "damaged member: its size or checksum"),
        (42, b"\x05\0\0\0", "damaged member: no local header where the archive says"),
        (42, b"\xf0\xff\xff\x7f", "damaged member: unpack requires"),
    ],
)
def test_member_that_is_not_what_the_directory_says_is_refused(tmp_path, offset, value, problem):
    archive = write_zip(tmp_path / "set.zip", {"a.png": encode(preview())})
    patch_directory(archive, offset, value)
    with pytest.raises(InputError, match=rf"set\.zip!a\.png: {problem}"):
        open_inputs(archive).read(0)


def test_member_with_damaged_data_is_refused(tmp_path):
    archive = write_zip(tmp_path / "set.zip", {"a.png": encode(preview())})
    data = bytearray(archive.read_bytes())
    data[35:45] = b"\xff" * 10  # the data start at byte 35
    archive.write_bytes(data)
    with pytest.raises(InputError, match="damaged member: Error -3"):
        open_inputs(archive).read(0)


def test_archive_that_vanished_is_refused(tmp_path):
    archive = write_zip(tmp_path / "set.zip", {"a.png": encode(preview())})
    reader = open_inputs(archive)
    archive.unlink()
    with pytest.raises(InputError, match=r"set\.zip!a\.png: No such file or directory$"):
        reader.read(0)


def test_archive_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"set\.zip: expected an archive with images .*, found none"):
        open_inputs(write_zip(tmp_path / "set.zip", {"readme.txt": b""}))


def test_file_that_is_no_archive_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"set\.zip: expected a zip archive: File is not a zip file"):
        open_inputs(write(tmp_path / "set.zip", b"no archive"))


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
        ([("when", "M8[D]"), ("ExpNum", ">i4")], [("2014-01-01", 360471), ("2014-01-02", 360472)], [None, None]),
    ],
)
def test_identities_beside_a_stack_are_found_by_content_or_name(tmp_path, dtype, rows, bands):
    reader = open_inputs(stack_with_ids(tmp_path, np.array([*rows, rows[0]], dtype)))
    assert expnums(reader) == [360471, 360472, 360471]
    assert [reader.source(k).facts.band for k in range(2)] == list(bands)


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
        (np.array([("x",)] * 3, [("expnum", "U9")]), "column expnum: Failed to parse string: 'x'"),
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
    assert reader.source(0).facts == HeaderFacts("g", 56900.25, 10.0, None, 90.0)
    assert reader.source(1).facts == HeaderFacts(None, None, 20.0, None, 90.0)
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


def test_zarr_header_array_of_the_wrong_type_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"column expnum: Float value 1\.5"):
        open_inputs(write_zarr(tmp_path / "s.zarr", expnum=[1.0, 1.5, 2.0]))


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


# Manifests


def write_manifest(path: Path, text: str) -> Path:
    path.write_text(text)
    if path.suffix == ".csv":
        return path
    table = pyarrow.csv.read_csv(path)
    pyarrow.parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_manifest_gives_paths_expnums_and_facts(tmp_path, name):
    elsewhere = write(tmp_path / "elsewhere" / "b.png", preview(2))
    write(tmp_path / "night" / "D00158776.png", preview(1))
    text = (
        "expnum,path,band,mjd_obs,ra,dec,exptime,note\n"
        "360471,night/D00158776.png,g,56900.5,10,-5.5,90,fine\n"
        f",{elsewhere},,,,,,\n"
        ",night/D00158776.png,r,,,,30,\n"
    )
    reader = open_inputs(write_manifest(tmp_path / name, text))
    assert expnums(reader) == [360471, None, 158776]
    assert paths(reader) == [f"{tmp_path}/night/D00158776.png", str(elsewhere), f"{tmp_path}/night/D00158776.png"]
    assert reader.source(0).facts == HeaderFacts("g", 56900.5, 10.0, -5.5, 90.0)
    assert reader.source(1).facts == HeaderFacts()
    np.testing.assert_array_equal(reader.read(1).image, preview(2))


@pytest.mark.parametrize("text", ["00360471", "D00360471", "360471.0", " 360471"])
def test_expnum_in_a_manifest_may_be_written_in_any_way(tmp_path, text):
    assert expnums(open_inputs(write_manifest(tmp_path / "m.csv", f"expnum,path\n{text},a.jpg\n"))) == [360471]


def test_manifest_with_floats_for_expnums_and_categories_for_bands_is_read(tmp_path):
    table = pa.table(
        {
            "path": pa.array(["a.jpg", "b.jpg"]).dictionary_encode(),
            "expnum": [360471.0, float("nan")],
            "band": pa.array(["g", "r"]).dictionary_encode(),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    reader = open_inputs(tmp_path / "m.parquet")
    assert expnums(reader) == [360471, None]
    assert reader.source(1).facts.band == "r"


def test_path_of_digits_is_a_path(tmp_path):
    assert paths(open_inputs(write_manifest(tmp_path / "m.csv", "path\n0158776\n"))) == [f"{tmp_path}/0158776"]


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_manifest_without_paths_is_refused_with_the_columns_it_has(tmp_path, name):
    with pytest.raises(InputError, match="expected columns 'expnum' and 'path', got expnum, file"):
        open_inputs(write_manifest(tmp_path / name, "expnum,file\n1,a.jpg\n"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected a manifest: Empty CSV file"),
        ("expnum,path\n", "expected a manifest of images, got no rows"),
        ("expnum,path\n1,a.jpg\n2,\n", "expected a path in every row, got none in row 2"),
        ("expnum,path\n1,a.jpg,g\n", "expected a manifest: CSV parse error"),
        ("path,path\na.jpg,b.jpg\n", "expected a manifest: the column 'path' occurs more than once"),
        ("expnum,path\nx,a.jpg\n", "column expnum: Failed to parse string: 'x'"),
        ("expnum,path\n1.5,a.jpg\n", "column expnum: Failed to parse string: '1.5'"),
        ("ra,path\n10h,a.jpg\n", "column ra: Failed to parse string: '10h'"),
    ],
)
def test_manifest_that_makes_no_sense_is_refused(tmp_path, text, problem):
    with pytest.raises(InputError, match=rf"m\.csv: {problem}"):
        open_inputs(write_manifest(tmp_path / "m.csv", text))


def test_file_that_is_no_parquet_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"m\.parquet: expected a manifest: ."):
        open_inputs(write(tmp_path / "m.parquet", b"no parquet"))


def test_parquet_with_text_that_is_none_is_refused(tmp_path):
    path = tmp_path / "m.parquet"
    pyarrow.parquet.write_table(pa.table({"path": ["name.jpg"]}), path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"name.jpg", b"n\xffme.jpg"))
    with pytest.raises(InputError, match=r"m\.parquet: expected a manifest: .*UTF8"):
        open_inputs(path)


def test_manifest_of_a_missing_image_spoils_that_exposure_only(tmp_path):
    write(tmp_path / "b.png", preview())
    reader = open_inputs(write_manifest(tmp_path / "m.csv", "path\na.png\nb.png\n"))
    with pytest.raises(InputError, match=r"a\.png: no such file"):
        reader.read(0)
    reader.read(1)


# Real images


def test_all_real_images_are_read_and_named_by_their_expnum():
    folder = DATA / "des_common_core" / "images"
    if not folder.is_dir():
        pytest.skip(f"REAL IMAGES NOT TESTED: {folder} is not there; set CASCADE_DATA")
    reader = open_inputs(folder)
    assert len(reader) == 25
    for k in range(25):
        exposure = reader.read(k)
        assert exposure.source.path.endswith(f"Ghost_img_D{exposure.source.expnum:08d}.jpg")
        with Image.open(exposure.source.path) as image:
            np.testing.assert_array_equal(exposure.image, np.asarray(image)[..., 0])  # grey, though saved as RGB
