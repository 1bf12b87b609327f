"""
Arrays in .npy files, read piece by piece.

Never mapped: a mapped file that is truncated ends the process (SIGBUS). Nothing is read before the header is found
to be short, of plain values and within the size of the file.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from cascade.core.errors import InputError, input_error, reason
from cascade.inputs.time_limit import check_time

_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 2**16  # NumPy writes 128, and some more for many fields
_MAX_WHOLE_BYTES = 2**30
_PIECE_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """
    What a .npy file says of its array, found to agree with the size of the file.

    Attributes
    ----------
    shape
        Of the array, slowest axis first.
    dtype
        Of plain values, no Python objects.
    is_fortran
        Whether the first axis is the fastest one.
    start
        Byte of the file at which the values start.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    start: int

    @property
    def n_bytes(self) -> int:
        """Bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: Path, path: str | Path) -> NpyHeader:
    """
    Read the header of a .npy file.

    Parameters
    ----------
    file : Path
    path : str or Path
        How errors name it.

    Raises
    ------
    InputError
        If it is no .npy file, is shorter than its header says, holds Python objects or cannot be read.
    """
    try:
        status = file.stat()
        if not S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise input_error(path, "not a file")
        with file.open("rb") as stream:
            start = stream.read(len(_MAGIC) + 6)
            if not start.startswith(_MAGIC):
                raise input_error(path, f"expected a .npy array, got a file that starts with {start[:6]!r}")
            stream.seek(0)
            header = _parsed(stream, start)
    except OSError as error:
        raise input_error(path, reason(error)) from error
    except InputError:
        raise
    except Exception as error:  # the header is a Python literal, which can be wrong in many ways
        problem = f"expected a complete .npy array of plain values, not Python objects: {reason(error)}"
        raise input_error(path, problem) from error
    if header.start + header.n_bytes > status.st_size:
        got = f"its values end at byte {header.start + header.n_bytes}, the file at {status.st_size}"
        raise input_error(path, f"expected a complete .npy array of plain values: truncated: {got}")
    return header


def read_one(file: Path, header: NpyHeader, index: int, path: str) -> npt.NDArray[Any]:
    """
    Read the array at one place of the first axis.

    Raises
    ------
    InputError
        If the file cannot be read, or was truncated since its header was read.
    """
    shape = header.shape[1:]
    n, itemsize = math.prod(shape), header.dtype.itemsize
    try:
        with file.open("rb") as stream:
            if not header.is_fortran:
                stream.seek(header.start + index * n * itemsize)
                return np.frombuffer(_exactly(stream, n * itemsize), header.dtype).reshape(shape)
            stream.seek(header.start)
            length, values, done = header.shape[0], np.empty(n, header.dtype), 0
            while done < n:  # every length-th value belongs to it
                step = min(n - done, max(1, _PIECE_BYTES // (length * itemsize)))
                piece = np.frombuffer(_exactly(stream, step * length * itemsize), header.dtype)
                values[done : done + step] = piece[index::length]
                done += step
                check_time(path)
            return values.reshape(shape, order="F")
    except OSError as error:
        raise input_error(path, reason(error)) from error
    except EOFError as error:
        raise input_error(path, "the file was truncated while it was read") from error


def read_whole(file: Path, path: str | Path) -> npt.NDArray[Any]:
    """
    Read a small array.

    Raises
    ------
    InputError
        As `read_header`, and if it is larger than 1 GiB.
    """
    header = read_header(file, path)
    if header.n_bytes > _MAX_WHOLE_BYTES:
        raise input_error(path, f"expected an array of at most {_MAX_WHOLE_BYTES >> 20} MiB, got {header.shape}")
    try:
        with file.open("rb") as stream:
            stream.seek(header.start)
            values = np.frombuffer(_exactly(stream, header.n_bytes), header.dtype)
    except OSError as error:
        raise input_error(path, reason(error)) from error
    except EOFError as error:
        raise input_error(path, "the file was truncated while it was read") from error
    return values.reshape(header.shape, order="F" if header.is_fortran else "C")


def _parsed(stream: IO[bytes], start: bytes) -> NpyHeader:
    """The header, by NumPy's parser once its length is known to be small; ValueError and others."""
    version = start[len(_MAGIC)]
    width = 2 if version == 1 else 4
    length = int.from_bytes(start[len(_MAGIC) + 2 :][:width], "little")
    if length > _MAX_HEADER_BYTES:
        msg = f"expected a header of at most {_MAX_HEADER_BYTES} bytes, got {length}"
        raise ValueError(msg)
    text = io.BytesIO(stream.read(len(_MAGIC) + 2 + width + length))
    if np.lib.format.read_magic(text) == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(text)
    else:  # version 3 differs in field names that are not latin-1 alone
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(text)
    if dtype.hasobject or not dtype.itemsize or any(side < 0 for side in shape):
        msg = f"got dtype {dtype} and shape {shape}"
        raise ValueError(msg)
    return NpyHeader(shape, dtype, is_fortran, stream.tell())


def _exactly(stream: IO[bytes], n: int) -> bytes:
    """The next n bytes of a file, or EOFError."""
    data = stream.read(n)
    if len(data) < n:
        raise EOFError
    return data
