"""Ways in which files are damaged or forged; each takes what a file holds and gives something else."""

from __future__ import annotations

import random
import re

_TOKEN = re.compile(rb"[A-Za-z_][\w.]*|[-+]?\d+(?:\.\d+)?")
_DIGITS = re.compile(rb"\d+")
_TEXTS = (
    b"", b"0", b"-1", b"1e999", b"NaN", b"null", b"true", b"[]", b"{}", b'"', b",", b"\n", b"\x00", b"\xff\xfe",
    b"9" * 40, b"../../x", b"/dev/zero", b"=1+1", b"\xe2\x80\xa8", b"A" * 5000, b"[" * 3000, b"2147483648",
    b"18446744073709551615", b"1.5", b"D00700001", b"S4", b"N31",
)  # fmt: skip
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**62, 2**63 - 1, 2**64 - 1)


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64)) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((0, rng.randrange(len(data) + 1), max(len(data) - rng.randrange(1, 20), 0)))]


def splice(data: bytes, rng: random.Random) -> bytes:
    """Another part of the file over, before or in place of a part."""
    start, at = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    part = data[start : start + rng.choice((1, 4, 16, 100, 3000))]
    end = rng.choice((at, at + len(part), at + rng.choice((1, 4, 16, 100, 3000))))
    return data[:at] + part + data[end:]


def edit_length(data: bytes, rng: random.Random) -> bytes:
    """A number that may be a length, binary or in digits; mostly near the beginning or the end, where headers are."""
    if rng.random() < 0.3 and (found := list(_DIGITS.finditer(data[:20_000]))):
        place = rng.choice(found)
        text = rng.choice((b"0", b"1", b"65536", b"2000000000", b"99999999999999", b"1" + place[0]))
        if rng.random() < 0.5:
            text = text[: len(place[0])].rjust(len(place[0]), b"0")
        return data[: place.start()] + text + data[place.end() :]
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(_EDGES) & ((1 << 8 * size) - 1)
    last = max(len(data) - size, 0)
    near = rng.randrange(min(last, 64) + 1)
    at = rng.choice((near, rng.randrange(last + 1), last - near))
    return data[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def zero(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    stop = min(len(data), start + rng.choice((1, 8, 512, 4096, len(data))))
    return data[:start] + bytes(stop - start) + data[stop:]


def edit_text(data: bytes, rng: random.Random) -> bytes:
    """A word or number of a text becomes another; or lines are lost, doubled or change places."""
    if rng.random() < 0.3:
        lines = data.splitlines(keepends=True)
        if len(lines) > 1:
            a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
            kind = rng.randrange(3)
            if kind == 0:
                del lines[a]
            elif kind == 1:
                lines.insert(b, lines[a])
            else:
                lines[a], lines[b] = lines[b], lines[a]
            return b"".join(lines)
    found = list(_TOKEN.finditer(data[:200_000]))
    if not found:
        return flip_bits(data, rng)
    place = rng.choice(found)
    text = rng.choice((*_TEXTS, rng.choice(found)[0]))
    return data[: place.start()] + text + data[place.end() :]


MUTATIONS = (flip_bits, flip_bits, truncate, splice, edit_length, edit_length, zero, edit_text, edit_text)


def mutated(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Apply one mutation, sometimes a second one; what was done, and the bytes."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        mutation = rng.choice(MUTATIONS)
        done.append(mutation.__name__)
        data = mutation(data, rng)
    return "+".join(done), data
