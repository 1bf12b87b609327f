"""The exposures of a reader in another order, as a season needs that grew in the middle of its listing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascade.core.exposure import Exposure, Source
from cascade.inputs.base import Reader, chain, check_part


@dataclass(frozen=True, slots=True, eq=False)
class Reordered:
    """
    A reader in another order.

    Attributes
    ----------
    reader
        The exposures.
    order
        (N,) int; exposure k is that of index `order[k]` in `reader`.
    """

    reader: Reader
    order: npt.NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.order)

    def source(self, index: int) -> Source:
        """Say where an exposure comes from, without touching its pixels."""
        return self.reader.source(self._locate(index))

    def read(self, index: int) -> Exposure:
        """Read one exposure."""
        return self.reader.read(self._locate(index))

    def part(self, start: int, stop: int) -> Reader:
        """Take the exposures `start` to `stop - 1`, by runs of neighbours."""
        check_part(start, stop, len(self))
        taken = self.order[start:stop]
        runs = np.split(taken, np.flatnonzero(np.diff(taken) != 1) + 1)
        return chain(self.reader.part(int(run[0]), int(run[-1]) + 1) for run in runs if len(run))

    def _locate(self, index: int) -> int:
        """The index of an exposure in `reader`."""
        if not 0 <= index < len(self):
            msg = f"exposure {index}: the reader has {len(self)}"
            raise IndexError(msg)
        return int(self.order[index])


def reordered(reader: Reader, order: npt.NDArray[np.intp]) -> Reader:
    """The reader in another order; itself if that is the same."""
    return reader if np.array_equal(order, np.arange(len(reader))) else Reordered(reader, order)
