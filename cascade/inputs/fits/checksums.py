"""CHECKSUM and DATASUM of an HDU (FITS standard 4.0, section 4.4.2.7 and appendix J)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_ALL_ONES = 0xFFFFFFFF


def is_edited(text: bytes, header: Mapping[str, Any]) -> bool:
    """
    Whether a header was changed after its CHECKSUM and DATASUM were made, so that they say nothing of the data either.

    Astropy and cfitsio leave it so when they write a corrected image with the header that it had.

    Parameters
    ----------
    text : bytes
        The header as it stands in the file.
    header : mapping
        Its cards.
    """
    checksum, datasum = _cards(header)
    if not checksum or not datasum.isdecimal():
        return False
    return _folded(_sum_of(memoryview(text)) + int(datasum)) not in (0, _ALL_ONES)


def find_damage(text: memoryview, data: memoryview, header: Mapping[str, Any]) -> str | None:
    """
    Check an HDU that was not edited.

    Parameters
    ----------
    text, data : memoryview
        Its header and its padded data, as they stand in the file.
    header : mapping
        Its cards.

    Returns
    -------
    str or None
        What is wrong, in one clause; None too where it carries no sums.
    """
    checksum, datasum = _cards(header)
    if not checksum and not datasum:
        return None
    got = _sum_of(data)
    if datasum.isdecimal() and got != int(datasum) & _ALL_ONES:
        return f"expected DATASUM {datasum}, got {got}: its data are damaged"
    whole = _folded(got + _sum_of(text))
    if checksum and whole not in (0, _ALL_ONES):  # all bits set, or none, say that nothing changed
        return f"expected its bytes to add up to 0, got {whole:#010x} with CHECKSUM {checksum}: damaged"
    return None


def _cards(header: Mapping[str, Any]) -> tuple[str, str]:
    """CHECKSUM and DATASUM as text, empty where missing."""
    checksum, datasum = (str(header.get(key, "")).strip() for key in ("CHECKSUM", "DATASUM"))
    return checksum, datasum


def _sum_of(data: memoryview) -> int:
    """Ones-complement sum of 32-bit words."""
    words = np.frombuffer(data[: len(data) // 4 * 4], ">u4")
    return _folded(int(words.sum(dtype=np.uint64)))


def _folded(total: int) -> int:
    """A sum with what it carries beyond 32 bits added in again."""
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 32)
    return total
