from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image, ImageDraw
from reader_files import encode, expnums, paths, preview, write

from cascade.core.errors import InputError
from cascade.inputs import open_inputs
from cascade.inputs.decode import MAX_BYTES, decode_image
from cascade.pages.report.previews import preview_jpeg, preview_png


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
    assert expnums(reader) == [None, 1, 2, None, 1, 2, 1]


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


@pytest.mark.parametrize("cmap", ["viridis", "jet", "bone", "copper"])
def test_jpeg_in_false_colours_is_refused(cmap):
    colours = (colormaps[cmap](preview())[..., :3] * 255).astype(np.uint8)
    with pytest.raises(InputError, match=r"^a\.jpg: expected a grey image, got a JPEG in colour: \d+ of 160000 pixels"):
        decode_image(encode(colours, "JPEG", quality=90), "a.jpg")


def test_jpeg_with_something_drawn_over_the_sky_is_refused():
    image = Image.fromarray(np.full((400, 400), 50, np.uint8)).convert("RGB")
    ImageDraw.Draw(image).ellipse((100, 100, 200, 200), outline=(255, 0, 0), width=3)
    with pytest.raises(InputError, match="expected a grey image, got a JPEG in colour"):
        decode_image(encode(image, "JPEG"), "a.jpg")


def test_jpeg_with_a_tint_of_rounding_only_gives_its_luma():
    colours = np.stack([preview() // 2 + shade for shade in (0, 3, 5)], -1)
    luma = (0.299 * colours[..., 0] + 0.587 * colours[..., 1] + 0.114 * colours[..., 2]).round()  # ITU-R BT.601
    image = decode_image(encode(colours, "JPEG", quality=100, subsampling=0), "a.jpg")
    assert np.abs(image - luma).max() <= 3


def flags_of_a_corner(orientation: int) -> np.ndarray:
    """Where viewers show the upper left and the lower left of an image: Exif 2.32, tag Orientation, by hand."""
    first_row, first_column = {
        1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
        5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
    }[orientation]  # fmt: skip
    shown = np.full((400, 400), 50, np.uint8)
    sides = {"top": np.s_[:200], "bottom": np.s_[200:], "left": np.s_[:, :200], "right": np.s_[:, 200:]}
    shown[sides[first_row]] += 100
    shown[sides[first_column]] += 50
    return shown


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_image_is_turned_as_viewers_show_it(orientation, format_, mode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = flags_of_a_corner(1)
    image = decode_image(encode(Image.fromarray(stored).convert(mode), format_, exif=exif), "a")
    assert np.abs(image.astype(int) - flags_of_a_corner(orientation)).max() <= 2


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0"])
def test_damaged_orientation_turns_nothing(exif):
    image = decode_image(encode(flags_of_a_corner(1), "JPEG", exif=exif), "a.jpg")
    assert np.abs(image.astype(int) - flags_of_a_corner(1)).max() <= 2


@pytest.mark.parametrize("draw", [preview_jpeg, preview_png])
def test_preview_drawn_for_a_page_is_refused(draw):
    """Its grey levels are stretched for the eye."""
    with pytest.raises(InputError, match="x: expected a preview, got one drawn by ghost-cascade for display"):
        decode_image(draw(preview()), "x")


def test_progressive_jpeg_is_read():
    image = decode_image(encode(preview(), "JPEG", progressive=True), "a.jpg")
    np.testing.assert_array_equal(image, decode_image(encode(preview(), "JPEG"), "a.jpg"))


def test_jpeg_of_very_many_scans_is_refused_before_it_is_decoded():
    data = encode(preview(), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(InputError, match=r"a\.jpg: expected a JPEG of at most 100 scans, got \d{4,}$"):
        decode_image(data[:-2] + last * 20_000 + data[-2:], "a.jpg")


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
    with pytest.raises(InputError, match=r"a\.png: expected a grey image, got a PNG in colour: 1 of 160000"):
        decode_image(encode(image), "a.png")


def test_transparent_png_is_refused():
    image = Image.fromarray(preview()).convert("LA")
    image.putpixel((7, 7), (5, 0))
    with pytest.raises(InputError, match="expected a grey image, got a transparent PNG"):
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


def test_png_whose_checksum_is_wrong_is_refused():
    data = bytearray(encode(preview()))
    at = data.index(b"IDAT") + 4
    for place in range(at + 2, len(data) - 20, 97):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.raises(InputError, match=r"^a: truncated or damaged PNG: the checksum of its chunk b'IDAT'"):
            decode_image(bytes(damaged), "a")


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


# Real images


def test_all_real_images_are_read_and_named_by_their_expnum(real_data):
    folder = real_data / "des_common_core" / "images"
    reader = open_inputs(folder)
    assert len(reader) == 25
    for k in range(25):
        exposure = reader.read(k)
        assert exposure.source.path.endswith(f"Ghost_img_D{exposure.source.expnum:08d}.jpg")
        with Image.open(exposure.source.path) as image:
            np.testing.assert_array_equal(exposure.image, np.asarray(image)[..., 0])  # grey, though saved as RGB
