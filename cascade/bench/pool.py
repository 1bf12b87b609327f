"""
A pool of synthetic exposures, simulated once, for seasons of any prevalence.

Simulation takes ten times as long as the cascade. So there is a pool of clean and one of ghosted exposures, and a
season uses the first of each: seasons of different prevalence share exposures, but none contains one twice.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cascade.core.errors import ConfigError, StoreError
from cascade.core.via import read_via, region_instances
from cascade.evaluate import CcdCells, Found, Labelling
from cascade.simulate.dataset import write_season
from cascade.simulate.synthetic_season import Season
from cascade.storage.atomic import read_json

_SEED = 77001  # unused in training
_FIRST_EXPNUM = {"clean": 910001, "ghosted": 960001}
_SHARE = {"clean": 0.0, "ghosted": 1.0}
_SHARD = 256

IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Pool:
    """
    Simulated exposures on disk: the clean ones first, then the ghosted ones.

    Attributes
    ----------
    folder
        With a season each in ``clean`` and ``ghosted``.
    n_clean, n_ghosted
        Their numbers.
    """

    folder: Path
    n_clean: int
    n_ghosted: int

    @classmethod
    def draw(cls, folder: Path, n_clean: int, n_ghosted: int) -> Self:
        """
        Simulate exposures, unless the folder holds enough of them.

        Raises
        ------
        ConfigError
            If the folder holds anything else.
        """
        wanted = {"clean": n_clean, "ghosted": n_ghosted}
        sizes = {}
        for kind, n in wanted.items():
            season = Season(max(n, 1), _SHARE[kind], _SEED, _FIRST_EXPNUM[kind])
            sizes[kind] = _n_drawn(folder / kind, season)
            if sizes[kind] < n:
                folder.mkdir(parents=True, exist_ok=True)
                write_season(season, folder / kind, n_workers=os.cpu_count() or 1, fresh=True)
                sizes[kind] = season.n_exposures
        return cls(folder, sizes["clean"], sizes["ghosted"])

    def __len__(self) -> int:
        return self.n_clean + self.n_ghosted

    def previews(self) -> list[Path]:
        """The two stores of previews, as inputs of a run over the whole pool."""
        return [self.folder / kind / "previews.zarr" for kind in _SHARE]

    def ghosted(self) -> npt.NDArray[np.bool_]:
        """(N,) bool."""
        return np.arange(len(self)) >= self.n_clean

    def season(self, n_exposures: int, prevalence: float) -> IndexArray:
        """
        Choose the exposures of a season.

        Parameters
        ----------
        n_exposures : int
        prevalence : float
            Fraction of ghosted ones, in [0, 1]; rounded to whole exposures, at least one, spread evenly.

        Returns
        -------
        ndarray of int, shape (n_exposures,)
            Indices into the pool.

        Raises
        ------
        ConfigError
            If the pool is too small.
        """
        n_ghosted = max(1, round(n_exposures * prevalence))
        if n_ghosted > self.n_ghosted or n_exposures - n_ghosted > self.n_clean:
            msg = (
                f"pool of {self.n_clean} clean and {self.n_ghosted} ghosted exposures: expected enough for a season of "
                f"{n_exposures}, {n_ghosted} of them ghosted"
            )
            raise ConfigError(msg)
        steps = np.arange(n_exposures + 1) * n_ghosted // n_exposures
        ghosted = np.diff(steps) > 0
        return np.where(ghosted, self.n_clean + steps[:-1], np.arange(n_exposures) - steps[:-1]).astype(np.intp)

    def write(self, chosen: IndexArray, store: Path, *, mark: Sequence[int] = ()) -> None:
        """
        Write a season as a Zarr store of previews.

        Parameters
        ----------
        chosen : ndarray of int
            From `season`.
        store : Path
        mark : sequence of int
            Grey levels of the first pixel of clean and of ghosted exposures, the input of `cascade.networks.stub`;
            empty: unchanged.
        """
        import zarr

        pools: list[Any] = [zarr.open_group(path, mode="r")["preview"] for path in self.previews()]
        group = zarr.create_group(store)
        images = group.create_array(
            "preview", shape=(len(chosen), 400, 400), chunks=(1, 400, 400), shards=(_SHARD, 400, 400), dtype="uint8"
        )
        for start in range(0, len(chosen), _SHARD):
            block = chosen[start : start + _SHARD]
            out = np.empty((len(block), 400, 400), np.uint8)
            for number, pool in enumerate(pools):
                of_pool = (block >= self.n_clean) == bool(number)
                if of_pool.any():
                    at = block[of_pool] - number * self.n_clean
                    out[of_pool] = pool[int(at[0]) : int(at[-1]) + 1]  # contiguous, by construction of `season`
                    if mark:
                        out[of_pool, 0, 0] = mark[number]
            images[start : start + len(block)] = out

    def truth(self, cells: CcdCells) -> Labelling:
        """Ground truth of the whole pool."""
        regions = read_via(self.folder / "ghosted" / "via.json")
        drawn = (Found.of(region_instances(regions[name])) for name in sorted(regions)[: self.n_ghosted])
        return Labelling.of("truth", [*[Found.empty()] * self.n_clean, *drawn], cells)


def _n_drawn(folder: Path, season: Season) -> int:
    """Number of exposures of an earlier call; exposure n depends on seed and n only."""
    try:
        season_json = read_json(folder / "season.json")
    except StoreError:
        return 0
    same = (season_json.get("seed"), season_json.get("ghosted_share")) == (season.seed, season.ghosted_share)
    return int(season_json.get("n_exposures", 0)) if same else 0
