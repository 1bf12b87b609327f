"""Files of .npy that are not what they say, or change while they are read."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from cascade.core.errors import InputError
from cascade.inputs.npy import read_header, read_one, read_whole


def header_of(length: int, text: bytes, version: int = 2) -> bytes:
    """The start of a .npy file that claims a header of a length."""
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", length) + text


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", ">f4", "<i8"])
def test_one_of_an_array_is_what_numpy_wrote(tmp_path, order, dtype):
    array = np.asarray(np.arange(3 * 5 * 7).reshape(3, 5, 7), dtype, order=order)
    np.save(tmp_path / "x.npy", array)
    header = read_header(tmp_path / "x.npy", "x")
    assert (header.shape, header.dtype, header.is_fortran) == (array.shape, array.dtype, order == "F")
    for k in range(3):
        np.testing.assert_array_equal(read_one(tmp_path / "x.npy", header, k, "x"), array[k])
    np.testing.assert_array_equal(read_whole(tmp_path / "x.npy", "x"), array)


def test_column_order_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.inputs.npy._PIECE_BYTES", 8)
    array = np.asfortranarray(np.arange(30, dtype=np.uint8).reshape(3, 5, 2))
    np.save(tmp_path / "x.npy", array)
    np.testing.assert_array_equal(read_one(tmp_path / "x.npy", read_header(tmp_path / "x.npy", "x"), 1, "x"), array[1])


def test_fields_with_names_of_any_alphabet_are_read(tmp_path):
    with pytest.warns(UserWarning, match=r"format 3\.0"):
        np.save(tmp_path / "x.npy", np.zeros(2, [("expnum", "i4"), ("Ωλ", "f4")]))
    names = read_whole(tmp_path / "x.npy", "x").dtype.names
    assert names is not None
    assert names[0] == "expnum"


@pytest.mark.parametrize("length", [2**17, 2**32 - 1])
def test_long_header_is_refused_before_it_is_read(tmp_path, length):
    with (tmp_path / "x.npy").open("wb") as stream:
        stream.write(header_of(length, b"{"))
        stream.truncate(2**33)  # sparse: takes no disk
    with pytest.raises(InputError, match=rf"expected a header of at most 65536 bytes, got {length}$"):
        read_header(tmp_path / "x.npy", "x")


@pytest.mark.parametrize("shape", ["(1000000000000,400,400)", "(2,400,400)", "(2,10000000000000000000000)"])
def test_array_that_ends_beyond_the_file_is_refused(tmp_path, shape):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    (tmp_path / "x.npy").write_bytes(header_of(len(text), text) + bytes(1000))
    with pytest.raises(InputError, match=r"^x: .*truncated: its values end at byte \d+, the file at \d+$"):
        read_header(tmp_path / "x.npy", "x")


@pytest.mark.parametrize(
    "text",
    [
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n",
        b"{'descr': '|V0', 'fortran_order': False, 'shape': (1,), }\n",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }\n",
        b"(" * 9000,
        b"__import__('os')\n",
        b"\xff\xfe\n",
    ],
)
def test_header_that_makes_no_sense_is_refused(tmp_path, text):
    (tmp_path / "x.npy").write_bytes(header_of(len(text), text) + bytes(1000))
    with pytest.raises(InputError, match=r"^x: expected a complete \.npy array of plain values, not Python objects: "):
        read_header(tmp_path / "x.npy", "x")


def test_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(InputError, match=r"^x: not a file$"):
        read_header(tmp_path / "x.npy", "x")


@pytest.mark.parametrize("order", ["C", "F"])
def test_file_truncated_while_it_is_read_costs_one_exposure(tmp_path, order):
    np.save(tmp_path / "x.npy", np.zeros((2, 400, 400), np.uint8, order))
    header = read_header(tmp_path / "x.npy", "x")
    os.truncate(tmp_path / "x.npy", 4096)
    with pytest.raises(InputError, match=r"^x\[1\]: the file was truncated while it was read$"):
        read_one(tmp_path / "x.npy", header, 1, "x[1]")
    (tmp_path / "x.npy").unlink()
    with pytest.raises(InputError, match=r"^x\[1\]: No such file or directory$"):
        read_one(tmp_path / "x.npy", header, 1, "x[1]")


def test_identities_are_read_whole_only_if_small(tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.inputs.npy._MAX_WHOLE_BYTES", 2**20)
    np.save(tmp_path / "z.npy", np.zeros(2**20 + 1, np.uint8))
    with pytest.raises(InputError, match=r"^z: expected an array of at most 1 MiB, got \(1048577,\)$"):
        read_whole(tmp_path / "z.npy", "z")


def test_small_array_that_vanishes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "z.npy", np.zeros(9, np.uint8))
    header = read_header(tmp_path / "z.npy", "z")
    monkeypatch.setattr("cascade.inputs.npy.read_header", lambda *_: header)
    os.truncate(tmp_path / "z.npy", header.start)
    with pytest.raises(InputError, match=r"^z: the file was truncated while it was read$"):
        read_whole(tmp_path / "z.npy", "z")
    with pytest.raises(InputError, match=r"^z: No such file or directory$"):
        read_whole(Path(tmp_path / "gone.npy"), "z")
