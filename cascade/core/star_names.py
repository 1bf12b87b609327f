"""Stars as pages and lists name them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources

_NAMES = "star_names.csv"


def star_name(hip: int) -> str:
    """The proper name of a star, if it has one, and its Hipparcos number: ``Aldebaran (HIP 21421)``, ``HIP 20885``."""
    number, name = f"HIP {hip}", proper_names().get(hip)
    return number if name is None else f"{name} ({number})"


@cache
def proper_names() -> Mapping[int, str]:
    """Proper names of bright stars by Hipparcos number; the file says where they are from."""
    text = resources.files(__package__).joinpath(_NAMES).read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {int(row["hip"]): row["name"] for row in rows}
