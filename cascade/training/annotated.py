"""Real exposures and their annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, InputError
from cascade.core.exposure import BoolArray, Instances, UInt8Array
from cascade.core.via import read_checked, region_instances
from cascade.inputs import open_inputs

logger = getLogger(__name__)

_FOLD_GAP = 1000  # DECam takes 200-400 exposures per night; expnums this close may be of the same night


@dataclass(frozen=True, slots=True)
class AnnotatedSet:
    """
    N exposures, each annotated by the same J annotators.

    Attributes
    ----------
    expnums
        Exposure numbers, increasing.
    images
        (N, 400, 400) uint8.
    annotators
        Stem of the annotation file of each of the J annotators.
    instances
        Annotations of exposure n by annotator j: ``instances[n][j]``.
    """

    expnums: tuple[int, ...]
    images: UInt8Array
    annotators: tuple[str, ...]
    instances: tuple[tuple[Instances, ...], ...]

    def __len__(self) -> int:
        return len(self.expnums)

    def select(self, indices: Sequence[int]) -> AnnotatedSet:
        """The exposures at these indices, in this order."""
        return AnnotatedSet(
            tuple(self.expnums[n] for n in indices),
            self.images[list(indices)],
            self.annotators,
            tuple(self.instances[n] for n in indices),
        )

    def votes(self) -> BoolArray:
        """
        Pixels marked by each annotator, by class.

        Returns
        -------
        ndarray of bool, shape (J, N, C, 400, 400)
            Union of masks by class, in the order of `Artifact`.
        """
        votes = np.zeros((len(self.annotators), len(self), len(Artifact), *self.images.shape[1:]), bool)
        for n, by_annotator in enumerate(self.instances):
            for j, found in enumerate(by_annotator):
                for class_, mask in zip(found.classes, found.masks, strict=True):
                    votes[j, n, class_] |= mask
        return votes

    def marked_ccds(self, camera: Camera) -> BoolArray:
        """CCDs on which any annotator marked a pixel: (N, 1 + highest ccdnum) bool, entry 0 for the gaps."""
        anything: BoolArray = np.any(self.votes(), axis=(0, 2))
        return np.stack([camera.count(mask) > 0 for mask in anything])


def load_annotated(images: Path, annotations: Path) -> AnnotatedSet:
    """
    Load exposures and their annotations.

    Parameters
    ----------
    images : Path
        Folder, zip or other input of exposures.
    annotations : Path
        Folder of VIA files, one per annotator, matched to the exposures by file name.

    Raises
    ------
    InputError
        If an image cannot be read, or an annotator's file does not list it.
    ConfigError
        If there are no annotations.
    """
    files = sorted(annotations.glob("*.json"))
    if not files:
        msg = f"{annotations}: expected a folder with VIA annotations (*.json), found none"
        raise ConfigError(msg)
    annotated = {file: read_checked(file) for file in files}
    drawn = {file: one.images for file, one in annotated.items()}
    incomplete = frozenset[str]().union(*(one.incomplete for one in annotated.values()))
    reader = open_inputs([images])
    exposures = sorted((reader.read(n) for n in range(len(reader))), key=lambda e: e.source.expnum or 0)
    known = [exposure for exposure in exposures if Path(exposure.source.path).name not in incomplete]
    if len(known) < len(exposures):
        n_left_out = len(exposures) - len(known)
        logger.warning("%s: %d exposures with regions that are not known, not trained on", annotations, n_left_out)
    exposures = known
    instances = []
    for exposure in exposures:
        name = Path(exposure.source.path).name
        for file in files:
            if name not in drawn[file]:
                msg = f"{file}: expected annotations of {name}, which it does not list"
                raise InputError(msg)
        instances.append(tuple(region_instances(drawn[file][name]) for file in files))
    return AnnotatedSet(
        tuple(exposure.source.expnum or 0 for exposure in exposures),
        np.stack([exposure.image for exposure in exposures]),
        tuple(file.stem for file in files),
        tuple(instances),
    )


def folds_by_night(expnums: Sequence[int], n_folds: int) -> list[npt.NDArray[np.intp]]:
    """
    Split exposures into folds of similar size, grouped by night.

    Exposures whose expnums lie within 1000 of each other count as one night, since dates are not available.

    Parameters
    ----------
    expnums : sequence of int
        Increasing.
    n_folds : int
        At most the number of nights.

    Returns
    -------
    list of ndarray of int
        Indices of the exposures of each fold.

    Raises
    ------
    ConfigError
        If there are fewer nights than folds.
    """
    starts = np.flatnonzero(np.diff(expnums, prepend=-_FOLD_GAP - 1) > _FOLD_GAP)
    nights = np.split(np.arange(len(expnums)), starts[1:])
    if len(nights) < n_folds:
        msg = f"cross-validation: expected at least {n_folds} nights, one per fold, got {len(nights)}"
        raise ConfigError(msg)
    folds: list[list[npt.NDArray[np.intp]]] = [[] for _ in range(n_folds)]
    # Largest nights first, each to the smallest fold, which mixes early and late exposures.
    for night in sorted(nights, key=len, reverse=True):
        min(folds, key=lambda fold: sum(map(len, fold))).append(night)
    return [np.sort(np.concatenate(fold)) for fold in folds]
