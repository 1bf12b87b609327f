"""The exposures of a run, one at a time, with their masks, instances and the WCS of their CCDs, for exports."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import zarr

from cascade.camera import Camera
from cascade.core.errors import CascadeError, StoreError, printable
from cascade.core.exposure import BoolArray, UInt8Array
from cascade.inputs.fits.ccds import open_exposure
from cascade.inputs.fits.reader import open_fits
from cascade.inputs.fits.sky_patches import SkyPatch, sky_patch
from cascade.inputs.preview_store import header_table
from cascade.runs.classes import check_known
from cascade.runs.inputs import InputPlaces
from cascade.runs.rows import row_mask
from cascade.runs.run import Run
from cascade.runs.verdicts.reviewed import reviewed_run

_STORED = re.compile(r"(?P<store>.+\.zarr)\[(?P<row>\d+)\]")
_N_STORES = 8  # header tables of stores in memory at a time

Patches = dict[int, SkyPatch]


@dataclass(frozen=True, slots=True)
class Written:
    """
    The result of an export.

    Attributes
    ----------
    n_exposures
        Exposures in it.
    n_files, n_bytes
        Files and their size.
    skipped
        Numbers of exposures that are not in it, by reason.
    """

    n_exposures: int
    n_files: int
    n_bytes: int
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class GhostedExposure:
    """
    One exposure of a run.

    Attributes
    ----------
    run
        The run.
    name
        Name of its files: the exposure number, or the position in the run where that is unknown.
    row
        Its row of the exposures table.
    artifacts
        Its rows of the artifacts table.
    masks
        The mask planes of the run.
    """

    run: Run
    name: str
    row: dict[str, Any]
    artifacts: list[dict[str, Any]]
    masks: zarr.Array[Any]

    def plane(self) -> UInt8Array:
        """Read the (H, W) uint8 mask plane of `Artifact.bit` flags."""
        return np.asarray(self.masks[self.row["exposure"]], np.uint8)

    def mask(self, artifact: dict[str, Any]) -> BoolArray:
        """(H, W) bool mask of one artifact."""
        return row_mask(artifact)


def ghosted_exposures(run: Run) -> Iterator[GhostedExposure]:
    """
    The exposures with artifacts, in order; an expnum that was processed twice appears twice, under two names.

    Raises
    ------
    StoreError
        If the run is not complete, or damaged.
    """
    check_complete(run)
    names, masks = Names(), run.masks
    for rows, found in zip(run.parts("exposures"), run.parts("artifacts"), strict=True):  # a batch in memory at a time
        artifacts: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for artifact in found.to_pylist():
            artifacts[artifact["exposure"]].append(artifact)
        for row in rows.filter(pc.equal(rows["status"], "ghosted")).to_pylist():
            yield GhostedExposure(run, names.unique(_name(row)), row, artifacts[row["exposure"]], masks)


def judged_exposures(run: Run) -> tuple[list[GhostedExposure], dict[str, int]]:
    """
    The reviewed exposures, as corrected by their reviewers, with and without artifacts; for training.

    Returns
    -------
    tuple
        The exposures, in order; and how many are left out, by reason: those on whose artifacts reviewers are tied, and
        those whose verdicts refer to an earlier run that was overwritten.

    Raises
    ------
    StoreError
        If the run is not complete, damaged, or has no verdicts.
    """
    check_complete(run)
    reviewed = reviewed_run(run)
    artifacts: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for artifact in reviewed.tables["artifacts"].to_pylist():
        artifacts[artifact["exposure"]].append(artifact)
    names, masks = Names(), run.masks
    chosen = [
        GhostedExposure(run, names.unique(_name(one.row)), dict(one.row), artifacts[exposure], masks)
        for exposure, one in sorted(reviewed.judged.items())
        if not one.disputed
    ]
    skipped = {
        "exposures are disputed and left out": reviewed.n_disputed,
        "have verdicts on an earlier run that was overwritten": reviewed.n_stale,
    }
    return chosen, skipped


def _name(row: Mapping[str, Any]) -> str:
    """Name of an exposure's files."""
    return f"exposure{row['exposure']:06d}" if row["expnum"] is None else f"D{row['expnum']:08d}"


def check_complete(run: Run) -> None:
    """
    Reject a run with pending batches or unknown classes of artifact.

    Raises
    ------
    StoreError
        If it has either.
    """
    check_known(run.config.classes, run.path)
    summary = run.summary()
    if summary.n_done < summary.n_batches:
        done = f"{summary.n_done} of {summary.n_batches} batches"
        msg = f"{run.path}: expected a complete run, got {done}; resume the run"
        raise StoreError(msg)


class Names:
    """Unique names: numbered from the second occurrence on."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = defaultdict(int)

    def unique(self, name: str) -> str:
        """The name, or a numbered one if it is in use."""
        self._seen[name] += 1
        return name if self._seen[name] == 1 else f"{name}_{self._seen[name]}"


class SkyHeaders:
    """
    Finds the WCS of the CCDs of exposures: in the FITS file that was the input, in the header table beside a store of
    previews, or in FITS files that the user lists.

    Parameters
    ----------
    camera : Camera
    fits : sequence of str
        FITS files to look in first, by expnum.
    places : InputPlaces or None
        Where the inputs are; None: where the tables say.

    Raises
    ------
    InputError
        If one of `fits` cannot be read.
    """

    def __init__(self, camera: Camera, fits: Sequence[str] = (), places: InputPlaces | None = None) -> None:
        self._camera = camera
        self._located = str if places is None else places.located
        self._by_expnum: dict[int, list[Path]] = {}
        if fits:
            reader = open_fits(fits, camera=camera.name, cutouts=True)
            for index in range(len(reader)):
                expnum = reader.peek(index).expnum
                if expnum is not None:
                    self._by_expnum[expnum] = reader.files(index)

    def patches(self, row: dict[str, Any]) -> Patches:
        """The WCS by ccdnum of an exposure, from its row of the exposures table; empty if nothing has it."""
        path = self._located(row["path"])
        if row["expnum"] in self._by_expnum:
            return self._of_files(self._by_expnum[row["expnum"]], path)
        if stored := _STORED.fullmatch(path):
            return _stored_patches(stored["store"]).get(int(stored["row"]), {})
        files = [Path(path)] if Path(path).is_file() else [Path(name) for name in sorted(glob(path))]  # noqa: PTH207
        return self._of_files(files, path) if files and ".f" in path else {}

    def _of_files(self, files: Sequence[Path], name: str) -> Patches:
        """The WCS in the headers of an exposure; no pixel is read."""
        try:
            with open_exposure(files, name, self._camera, cutouts=True) as exposure:
                found = [sky_patch(image) for image in exposure.ccds]
        except CascadeError:
            return {}  # reported by the run
        return {patch.ccdnum: patch for patch in found if patch is not None}


@lru_cache(maxsize=_N_STORES)
def _stored_patches(store: str) -> dict[int, Patches]:
    """The WCS of all exposures of a store of previews, a path or URL, by row."""
    rows = header_table(store)["ccds"].to_pylist()
    return {k: {ccd["ccdnum"]: SkyPatch(**ccd) for ccd in ccds} for k, ccds in enumerate(rows) if ccds}


def fits_text(value: Any) -> Any:  # noqa: ANN401
    """A value of a card; FITS allows only printable ASCII, and a band may come from any manifest."""
    return printable(value).encode("ascii", "replace").decode("ascii") if isinstance(value, str) else value


def header_cards(run: Run, exposure: GhostedExposure) -> dict[str, Any]:
    """Provenance cards of FITS exports."""
    from cascade.core.versions import installed_versions

    segment = run.config.segment
    return {
        "EXPNUM": (exposure.row["expnum"], "exposure number"),
        "BAND": (exposure.row["band"], "filter"),
        "INSTRUME": (Camera.load(run.config.camera).instrument, "instrument"),
        "GHMODEL": (segment.name if segment else None, "model that drew the masks"),
        "GHSHA256": (segment.sha256[:32] if segment else None, "sha256 of its weights, first half"),
        "GHVERS": (installed_versions().get("ghost-cascade"), "version of ghost-cascade"),
        "GHCLASS": (" ".join(run.config.labels), "classes of artifact"),
    }
