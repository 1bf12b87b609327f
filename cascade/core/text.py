"""Bytes of text files, decoded."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE

BYTE_ORDER_MARK = "\ufeff"


def decode_text(data: bytes, *, keep_mark: bool = False) -> str:
    """
    Decode text in UTF-8.

    Parameters
    ----------
    data : bytes
        The whole file.
    keep_mark : bool
        Leave a byte order mark, which Windows writes, at the start.

    Raises
    ------
    ValueError
        If it is in another encoding; the message names it, or the first byte and its line.
    """
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        msg = "expected text in UTF-8, got UTF-16"
        raise ValueError(msg)
    try:
        return data.decode("utf-8" if keep_mark or not data.startswith(BOM_UTF8) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        msg = f"expected text in UTF-8, got byte {data[error.start]:#04x} in line {line}"
        raise ValueError(msg) from error
