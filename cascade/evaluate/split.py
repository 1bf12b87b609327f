"""Training, validation and test sets from one annotation file, as the paper made them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from cascade.core.errors import ConfigError, InputError
from cascade.core.via import read_annotations, read_records
from cascade.storage.atomic import written_aside

PAPER_SEED = 42
"""The ``random_state`` of DeepGhostBusters' Dataset_Split.ipynb."""

PARTS = ("train", "val", "test")
_HELD_OUT = 0.3  # of all, then halved: 1400, 300 and 300 of 2000
_FEWEST = 2  # of each stratum, for a stratified split


@dataclass(frozen=True, slots=True)
class Part:
    """One of `PARTS`: VIA's keys and image records, in the order of the draw."""

    name: str
    records: tuple[tuple[str, Mapping[str, Any]], ...]


def split_annotations(path: Path, *, stratified: bool = False, seed: int = PAPER_SEED) -> tuple[Part, ...]:
    """
    Split annotated images 70 : 15 : 15, at random.

    With the paper's 2000 images in the paper's order and its seed, the parts are the paper's.

    Parameters
    ----------
    path : Path
        A VIA file.
    stratified : bool
        Stratify by the set of classes drawn on an image; sets with too few images are merged.
    seed : int
        Of scikit-learn's `train_test_split`, used for both draws.

    Returns
    -------
    tuple of Part
        Train, val and test.

    Raises
    ------
    InputError
        If the file cannot be read, or lists an image twice.
    ConfigError
        If there are too few images for three parts.
    """
    records = read_records(path)
    names = Counter(record["filename"] for _, record in records)
    twice = [name for name, n in names.items() if n > 1]
    if twice:
        msg = f"{path}: image {twice[0]!r} is listed twice"
        raise InputError(msg)
    strata = _strata(path, [record["filename"] for _, record in records]) if stratified else None
    try:
        train, rest = train_test_split(
            np.arange(len(records)),
            test_size=_HELD_OUT,
            random_state=seed,
            stratify=_merged(strata, range(len(records))),
        )
        val, test = train_test_split(rest, test_size=0.5, random_state=seed, stratify=_merged(strata, rest))
    except ValueError as error:
        msg = f"{path}: expected enough images for three parts, got {len(records)}: {error}"
        raise ConfigError(msg) from error
    parts = zip(PARTS, (train, val, test), strict=True)
    return tuple(Part(name, tuple(records[int(k)] for k in indices)) for name, indices in parts)


def write_split(parts: Sequence[Part], out: Path) -> None:
    """
    Write ``annotations_train.json``, ``annotations_val.json`` and ``annotations_test.json``, which VIA imports.

    Parameters
    ----------
    parts : sequence of Part
    out : Path
        Folder; created if missing.

    Raises
    ------
    ConfigError
        If a file of that name exists.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = {out / f"annotations_{part.name}.json": part for part in parts}
    for file in files:
        if file.exists():
            msg = f"{file}: the file already exists; choose another --out"
            raise ConfigError(msg)
    for file, part in files.items():
        with written_aside(file) as aside:
            aside.write_text(json.dumps(dict(part.records)) + "\n", encoding="utf-8")


def _strata(path: Path, names: Sequence[str]) -> list[str]:
    """The set of classes drawn on each image."""
    drawn = read_annotations(path).images
    return ["+".join(sorted({region.artifact.label for region in drawn[name]})) or "clean" for name in names]


def _merged(strata: list[str] | None, indices: Sequence[int]) -> list[str] | None:
    """Strata of images; rare ones are merged, and join the most frequent if still too rare."""
    if strata is None:
        return None
    chosen = [strata[int(k)] for k in indices]
    counts = Counter(chosen)
    merged = [one if counts[one] >= _FEWEST else "other" for one in chosen]
    if 0 < merged.count("other") < _FEWEST:
        most = counts.most_common(1)[0][0]
        merged = [most if one == "other" else one for one in merged]
    return merged
