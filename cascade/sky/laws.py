"""The laws of the sky: fitted to annotated exposures, shipped with the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from cascade.core.data_files import Arrays, read_npz, write_npz
from cascade.core.errors import ConfigError, InputError
from cascade.sky.boosted_trees import BoostedTrees
from cascade.sky.ghosts import FAMILIES, GHOST_FEATURES, GhostLaw
from cascade.sky.rays import PLACE_FEATURES, RaysLaw

LAWS_FILE = "sky_laws.npz"
BUILD_COMMAND = "python -m cascade.sky.fitting"

_MEANING = {"families": list(FAMILIES), "ghost_features": list(GHOST_FEATURES), "place_features": list(PLACE_FEATURES)}


@dataclass(frozen=True, slots=True)
class Levels:
    """
    Probabilities from which on something is predicted, in (0, 1).

    Those of the shipped laws give the highest CCD F1 on the annotated exposures.

    Attributes
    ----------
    ghost
        That people draw a ghost.
    rays
        That a CCD has Rays.
    bright
        That a drawn ghost is called Bright rather than Faint.
    """

    ghost: float
    rays: float
    bright: float

    def at(self, probability: float) -> Levels:
        """
        The same but for one probability for ghosts and Rays.

        Raises
        ------
        ConfigError
            If it is not in (0, 1).
        """
        if not 0 < probability < 1:
            msg = f"probability: expected a number in (0, 1), got {probability}"
            raise ConfigError(msg)
        return replace(self, ghost=probability, rays=probability)


@dataclass(frozen=True, eq=False)
class SkyLaws:
    """
    What stars do to exposures; read it with `SkyLaws.load`.

    Attributes
    ----------
    ghosts, rays
        The laws.
    levels
        From which probability on they predict.
    description
        Provenance: the data they were fitted to and what they reach on nights that they were not fitted to.
    """

    ghosts: GhostLaw
    rays: RaysLaw
    levels: Levels
    description: dict[str, Any]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """
        Read the laws of the package, or others.

        Raises
        ------
        InputError
            If the file is missing or damaged, or of another version of the code.
        """
        return cls(*_load(path))

    def write(self, path: Path) -> None:
        """Write the laws without pickles."""
        arrays: Arrays = {
            **self.ghosts.drawn.arrays("drawn"),
            **self.ghosts.bright.arrays("bright"),
            **self.rays.by_star.arrays("rays_by_star"),
            **self.rays.by_field.arrays("rays_by_field"),
        }
        write_npz(path, arrays, {**self.description, **_MEANING, "levels": asdict(self.levels)})


def read_fitted(shipped: str, path: Path | None, meaning: Mapping[str, list[str]]) -> tuple[dict[str, Any], Arrays]:
    """
    Read a fitted file of this package, or another.

    Parameters
    ----------
    shipped : str
        Name of the package's own file.
    path : Path or None
        Another file to read instead.
    meaning : mapping
        What its description must say of the features: laws fitted by other code mean something else.

    Raises
    ------
    InputError
        If the file is missing or damaged, or of another version of the code.
    """
    description, arrays = read_npz(__package__, shipped, path, build=BUILD_COMMAND)
    for name, expected in meaning.items():
        if description.get(name) != expected:
            got = f"{name} {expected}, got {description.get(name)}"
            msg = f"{path or shipped}: expected {got}; fit it with {BUILD_COMMAND}"
            raise InputError(msg)
    return description, arrays


@cache
def _load(path: Path | None) -> tuple[GhostLaw, RaysLaw, Levels, dict[str, Any]]:
    """Read a file of laws once."""
    description, arrays = read_fitted(LAWS_FILE, path, _MEANING)
    trees = {
        name: BoostedTrees.of_arrays(arrays, name) for name in ("drawn", "bright", "rays_by_star", "rays_by_field")
    }
    ghosts = GhostLaw(trees["drawn"], trees["bright"])
    rays = RaysLaw(trees["rays_by_star"], trees["rays_by_field"])
    return ghosts, rays, Levels(**description["levels"]), description
