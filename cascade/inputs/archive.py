"""Images in a zip archive, read member by member; nothing is ever extracted to disk."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from cascade.core.errors import input_error, printable, reason
from cascade.core.exposure import UInt8Array
from cascade.inputs.base import ListedReader, Row
from cascade.inputs.decode import MAX_BYTES, decode_image
from cascade.inputs.images import IMAGE_SUFFIXES, is_image_name, name_array
from cascade.inputs.left_out import exposures_among

_UTF_8 = 0x800  # of the flags: how the name is encoded
_ENCRYPTED = 1  # general purpose flag (APPNOTE.TXT, section 4.4.4)
_RAW_DEFLATE = -zlib.MAX_WBITS
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of the name, length of the extra field (section 4.3.7)
_LOCAL_SIGNATURE = b"PK\x03\x04"

# What a damaged directory makes zipfile raise: names that are no text, versions and sizes that do not exist.
_DAMAGED = (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, struct.error)


@dataclass(frozen=True, slots=True, eq=False)
class ZipReader(ListedReader):
    """
    One member an exposure; the listing holds what reading needs, so no worker reads the directory again.

    Attributes
    ----------
    archive
        The zip file, as the user wrote it.
    file
        The same, absolute.
    """

    archive: str
    file: Path

    def path(self, row: Row) -> str:
        """Archive and name of the member, ``set.zip!night/D00158776.jpg``."""
        return printable(f"{self.archive}!{os.fsdecode(row['name'])}")

    def pixels(self, row: Row, path: str) -> UInt8Array:
        """Decompress and decode the member."""
        return decode_image(self._member(row, path), path)

    def _member(self, row: Row, path: str) -> bytes:
        """The decompressed bytes of a member, whatever its header claims at most `MAX_BYTES`."""
        if row["flags"] & _ENCRYPTED:
            raise input_error(path, "expected a plain member, got an encrypted one")
        if row["method"] not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise input_error(path, f"expected a stored or deflated member, got compression method {row['method']}")
        largest = max(row["size"], row["packed_size"])
        if largest > MAX_BYTES:
            raise input_error(path, f"expected an image of at most {MAX_BYTES >> 20} MiB, got {largest} bytes")
        try:
            data = self._packed(row)
            if row["method"] == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(_RAW_DEFLATE).decompress(data, row["size"] + 1)
        except OSError as error:
            raise input_error(path, reason(error)) from error
        except (struct.error, zlib.error, ValueError) as error:
            raise input_error(path, f"damaged member: {reason(error)}") from error
        if len(data) != row["size"] or zlib.crc32(data) != row["crc"]:
            raise input_error(path, "damaged member: its size or checksum is not what the archive says")
        return data

    def _packed(self, row: Row) -> bytes:
        """The bytes of a member as they lie in the archive."""
        with self.file.open("rb") as stream:
            stream.seek(row["offset"])
            signature, name_length, extra_length = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
            if signature != _LOCAL_SIGNATURE:
                msg = "no local header where the archive says"
                raise zlib.error(msg)
            # As zipfile does: of two names one is wrong, and with it the exposure number.
            name = stream.read(name_length).decode("utf-8" if row["flags"] & _UTF_8 else "cp437")
            if name != os.fsdecode(row["stored_name"]):
                msg = f"its local header has the name {name!r}"
                raise ValueError(msg)
            stream.seek(extra_length, os.SEEK_CUR)
            return stream.read(row["packed_size"])


def open_archive(name: str) -> ZipReader:
    """
    List the images in a zip archive, sorted by name.

    Raises
    ------
    InputError
        If it is no zip archive or holds no image.
    """
    try:
        with zipfile.ZipFile(name) as archive:
            taken = set(exposures_among(archive.namelist(), name))
            members = [
                member for member in archive.infolist() if is_image_name(member.filename) and member.filename in taken
            ]
        members.sort(key=lambda member: member.filename)
        rows = pa.record_batch(
            {
                "name": name_array(member.filename for member in members),
                "stored_name": name_array(member.orig_filename for member in members),
                "offset": pa.array([member.header_offset for member in members], pa.int64()),
                "packed_size": pa.array([member.compress_size for member in members], pa.int64()),
                "size": pa.array([member.file_size for member in members], pa.int64()),
                "crc": pa.array([member.CRC for member in members], pa.int64()),
                "method": pa.array([member.compress_type for member in members], pa.int64()),
                "flags": pa.array([member.flag_bits for member in members], pa.int64()),
            }
        )
    except _DAMAGED as error:
        raise input_error(name, f"expected a zip archive: {reason(error)}") from error
    if not members:
        raise input_error(name, f"expected an archive with images ({', '.join(IMAGE_SUFFIXES)}), found none")
    return ZipReader(rows, name, Path(name).absolute())
