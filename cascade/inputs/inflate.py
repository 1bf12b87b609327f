"""How much gzip or zlib data hold, found without holding it."""

from __future__ import annotations

import zlib


def inflated_size(data: bytes, limit: int) -> int:
    """
    Count the bytes that the members of gzip or zlib data unpack to, up to one beyond a limit.

    Raises
    ------
    zlib.error
        If the data are damaged.
    """
    n = 0
    while data and n <= limit:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header
        n += len(unpacker.decompress(data, limit + 1 - n))
        data = unpacker.unused_data
    return n
