"""The truth: one annotator or several, or labels of whole exposures; and the exposures they refer to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from cascade.core.errors import ConfigError, InputError
from cascade.core.exposure import BoolArray
from cascade.core.via import Annotations, Problem, Region, read_annotations
from cascade.inputs import expnum_from_name
from cascade.inputs.npy import read_header, read_whole

_MAX_LABEL_BYTES = 64 * 2**20
_ROW = re.compile(r"\[(\d+)\]$")


@dataclass(frozen=True, slots=True)
class Truth:
    """
    Annotations of the same images by J annotators.

    Attributes
    ----------
    annotators
        Names, of the files.
    names
        Image file names that all of them annotated, without unusable regions; sorted.
    regions
        By annotator, then by image.
    problems
        With the file of each, in order.
    left_out
        Images that are not in `names`, by reason.
    """

    annotators: tuple[str, ...]
    names: tuple[str, ...]
    regions: tuple[Mapping[str, tuple[Region, ...]], ...]
    problems: tuple[tuple[str, Problem], ...]
    left_out: Mapping[str, tuple[str, ...]]


def read_truth(paths: Sequence[Path]) -> Truth:
    """
    Read annotation files.

    Files that share no image, as those of a training and a test set, are parts of one annotation. Otherwise each file
    is an annotator, and an image is used if all of them list it.

    Parameters
    ----------
    paths : sequence of Path
        VIA files, or folders of them (*.json).

    Raises
    ------
    ConfigError
        If there is no file, two have the same name, or no image is left.
    InputError
        If one cannot be read.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not files:
        msg = f"{', '.join(map(str, paths)) or 'truth'}: expected VIA files (*.json), found none"
        raise ConfigError(msg)
    twice = [name for name, n in Counter(file.stem for file in files).items() if n > 1]
    if twice:
        msg = f"annotators: expected a name each, got {twice[0]!r} twice"
        raise ConfigError(msg)
    read = [read_annotations(file) for file in files]
    parts = _merged(read)
    annotators = parts or {file.stem: dict(one.images) for file, one in zip(files, read, strict=True)}
    incomplete = frozenset[str]().union(*(one.incomplete for one in read))
    listed = Counter(name for images in annotators.values() for name in images)
    shared = {name for name, n in listed.items() if n == len(annotators)}
    names = tuple(sorted(shared - incomplete))
    problems = tuple((file.name, problem) for file, one in zip(files, read, strict=True) for problem in one.problems)
    if not names:
        raise ConfigError(_nothing_left(files, listed, len(shared & incomplete), problems))
    left_out = {
        "not by every annotator": tuple(sorted(set(listed) - shared - incomplete)),
        "with regions that are not known": tuple(sorted(incomplete)),
    }
    return Truth(tuple(annotators), names, tuple(annotators.values()), problems, left_out)


def _nothing_left(
    files: Sequence[Path], listed: Mapping[str, int], n_unknown: int, problems: Sequence[tuple[str, Problem]]
) -> str:
    """Why no image can be used."""
    if n_unknown:
        first = next(f"{file}: {problem}" for file, problem in problems if problem.kind not in ("outside", "clipped"))
        return f"{first}; {n_unknown} of {len(listed)} images have such regions, and no image is without"
    if not listed:
        return f"{files[0]}: expected images with a 'filename', got none"
    few = f"{len(listed)} images in all, such as {min(listed)}"
    return f"{', '.join(map(str, files))}: expected images that all {len(files)} files list, got none of {few}"


@dataclass(frozen=True, slots=True)
class Matches:
    """
    The match of annotated images to exposures of a run.

    Attributes
    ----------
    exposures
        Image name to the number of its exposure.
    left_out
        Names of images, or paths of exposures, without a partner, by reason.
    """

    exposures: Mapping[str, int]
    left_out: Mapping[str, tuple[str, ...]]


def match_exposures(exposures: pa.Table, names: Sequence[str]) -> Matches:
    """
    Find the exposures of annotated images: by file name, else by exposure number.

    Parameters
    ----------
    exposures : pyarrow.Table
        Of a run.
    names : sequence of str
        File names of images.

    Returns
    -------
    Matches
        Without failed exposures and ambiguous images.
    """
    rows = exposures.select(["exposure", "expnum", "path", "status"]).to_pylist()
    by_name: dict[str, list[int]] = {}
    by_expnum: dict[int, list[int]] = {}
    for k, row in enumerate(rows):
        by_name.setdefault(PurePosixPath(row["path"].rpartition("!")[2]).name, []).append(k)
        if row["expnum"] is not None:
            by_expnum.setdefault(row["expnum"], []).append(k)
    found: dict[str, int] = {}
    left_out: dict[str, list[str]] = {
        "annotated, not in the run": [],
        "several exposures of that name": [],
        "another image of the same exposure": [],
        "failed in the run": [],
        "in the run, not annotated": [],
    }
    partners: set[int] = set()
    for name in names:
        expnum = expnum_from_name(name)
        candidates = by_name.get(name) or (by_expnum.get(expnum) if expnum is not None else None) or []
        partners |= set(candidates)
        if not candidates:
            left_out["annotated, not in the run"].append(name)
        elif len(candidates) > 1:
            left_out["several exposures of that name"].append(name)
        elif rows[candidates[0]]["status"] == "failed":
            left_out["failed in the run"].append(name)
        else:
            found[name] = rows[candidates[0]]["exposure"]
    n_images = Counter(found.values())
    for name in [name for name in found if n_images[found[name]] > 1]:
        left_out["another image of the same exposure"].append(name)
        del found[name]
    left_out["in the run, not annotated"] = [row["path"] for k, row in enumerate(rows) if k not in partners]
    return Matches(found, {reason: tuple(which) for reason, which in left_out.items()})


def read_stack_labels(path: Path) -> BoolArray:
    """
    Read labels of whole exposures, as beside Chang's stacks (arXiv:2105.10524).

    Parameters
    ----------
    path : Path
        A ``y_*.npy`` of N numbers, 1 for ghosted and 0 for clean.

    Returns
    -------
    ndarray of bool, shape (N,)

    Raises
    ------
    InputError
        If it is not such an array, or too large.
    """
    if (n_bytes := read_header(path, path).n_bytes) > _MAX_LABEL_BYTES:
        msg = f"{path}: expected labels of at most {_MAX_LABEL_BYTES} bytes, got {n_bytes}"
        raise InputError(msg)
    labels = read_whole(path, path)
    if labels.dtype.kind not in "biuf":
        msg = f"{path}: expected a .npy array of numbers, got dtype {labels.dtype}"
        raise InputError(msg)
    labels = labels.reshape(-1)
    if not labels.size or not np.all((labels == 0) | (labels == 1)):
        msg = f"{path}: expected labels 0 and 1, got {np.unique(labels)[:5]}"
        raise InputError(msg)
    return np.array(labels == 1, bool)


def match_labels(exposures: pa.Table, labels: BoolArray, path: Path) -> Matches:
    """
    Find the exposures of labels by their row in the stack, ``x_test.npy[17]``.

    Parameters
    ----------
    exposures : pyarrow.Table
        Of a run over one stack.
    labels : ndarray of bool, shape (N,)
    path : Path
        Of the labels, for the message.

    Returns
    -------
    Matches
        The row as the name.

    Raises
    ------
    InputError
        If the run is not over one stack of N images.
    """
    paths, statuses = exposures["path"].to_pylist(), exposures["status"].to_pylist()
    rows = [_ROW.search(path) for path in paths]
    numbers = [int(row[1]) for row in rows if row is not None]
    if sorted(numbers) != list(range(len(labels))) or len(paths) != len(labels):
        msg = f"{path}: expected a run over one stack of {len(labels)} images, got one of {len(paths)} exposures"
        raise InputError(msg)
    found, failed = {}, []
    for number, exposure, status in zip(numbers, exposures["exposure"].to_pylist(), statuses, strict=True):
        if status == "failed":
            failed.append(str(number))
        else:
            found[str(number)] = exposure
    return Matches(found, {"failed in the run": tuple(failed)})


def _merged(read: Sequence[Annotations]) -> dict[str, dict[str, tuple[Region, ...]]] | None:
    """The files merged into one annotation, if they share no image; otherwise None."""
    merged: dict[str, tuple[Region, ...]] = {}
    for one in read:
        if merged.keys() & one.images.keys():
            return None
        merged |= one.images
    return {"+".join(one.path.stem for one in read): merged}
