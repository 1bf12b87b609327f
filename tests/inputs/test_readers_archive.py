from __future__ import annotations

import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from reader_files import encode, expnums, paths, preview, write, write_zip

from cascade.core.errors import InputError
from cascade.inputs import open_inputs
from cascade.inputs.decode import MAX_BYTES


def patch_directory(path: Path, offset: int, value: bytes) -> None:
    """Overwrite bytes of the central directory entry of the first member."""
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)


def test_zip_lists_its_images_sorted_without_shadows(tmp_path):
    members = ["b/D00000002.jpg", "a.PNG", "__MACOSX/._a.png", "b/._D00000002.jpg", "readme.txt", "folder.jpg/"]
    archive = write_zip(tmp_path / "set.zip", dict.fromkeys(members, b""))
    reader = open_inputs(archive)
    assert paths(reader) == [f"{archive}!a.PNG", f"{archive}!b/D00000002.jpg"]
    assert expnums(reader) == [None, 2]


def test_pictures_in_what_cascade_made_are_left_out(tmp_path, caplog):
    names = ["D1.png", "RUN/run.json", "RUN/a/b/1.png", "p/.cascade-made", "p/2.png", "season.json", "gallery.png"]
    archive = write_zip(tmp_path / "set.zip", dict.fromkeys(names, b""))
    assert paths(open_inputs(archive)) == [f"{archive}!D1.png"]
    assert "set.zip: left out of the files and folders in it: 1 folder that cascade made, 1 picture" in caplog.text


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


def test_hidden_members_are_left_out(tmp_path):
    names = ("a/D00158776.png", "a/.D00158776.png", ".ipynb_checkpoints/D00158776-checkpoint.png", "__MACOSX/a/b.png")
    archive = write_zip(tmp_path / "set.zip", {name: encode(preview()) for name in names})
    assert paths(open_inputs(archive)) == [f"{archive}!a/D00158776.png"]


def test_member_with_two_names_is_refused(tmp_path):
    path = write_zip(tmp_path / "set.zip", {f"D0070000{k}.png": encode(preview(k)) for k in (1, 2)})
    data = path.read_bytes()
    at = data.rindex(b"D00700002")  # in the directory
    path.write_bytes(data[: at + 8] + b"9" + data[at + 9 :])
    reader = open_inputs(path)
    assert expnums(reader) == [700001, 700009]
    assert reader.read(0).image.any()
    with pytest.raises(InputError, match=r"D00700009\.png: damaged member: its local header has the name 'D00700002"):
        reader.read(1)


@pytest.mark.parametrize("name", ["é.png", "n/\u4e00.png", "a\x82.png"])
def test_members_with_names_of_any_letters_are_read(tmp_path, name):
    assert open_inputs(write_zip(tmp_path / "set.zip", {name: encode(preview())})).read(0).image.any()
