"""The previews of a run's exposures, read from its inputs in its order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cascade.core.errors import CascadeError
from cascade.core.exposure import PREVIEW_SHAPE, UInt8Array
from cascade.inputs import Reader, open_inputs
from cascade.inputs.listing import list_inputs, order_as
from cascade.inputs.order import reordered
from cascade.runs.files import read_run_json

if TYPE_CHECKING:
    from cascade.runs.run import Run

logger = logging.getLogger(__name__)


class RunPreviews:
    """
    Reads the previews of a run from its inputs, while they exist; thread-safe.

    Parameters
    ----------
    run : Run
        Names its inputs; nothing else is ever read.
    """

    def __init__(self, run: Run) -> None:
        self._reader = _inputs_of(run)
        self._lock = threading.Lock()
        # Positions that an addition to the run skips are empty.
        self._first_inputs = {batch.start: (batch.stop, batch.first_input) for batch in run.batches()}
        self._size = run.config.batch_size

    @property
    def available(self) -> bool:
        """Whether the inputs were found, and are those of the run."""
        return self._reader is not None

    def read(self, exposure: int) -> UInt8Array | None:
        """Read the (400, 400) uint8 preview at a position of the run, or None if it cannot be read."""
        start = exposure - exposure % self._size
        stop, first_input = self._first_inputs.get(start, (start, 0))
        if self._reader is None or not start <= exposure < stop:
            return None
        try:
            with self._lock:  # archives and FITS keep files open
                image = self._reader.read(first_input + exposure - start).image
        except CascadeError as error:
            logger.info("preview unavailable: %s", error)
            return None
        return image if image.shape == PREVIEW_SHAPE else None


def _inputs_of(run: Run) -> Reader | None:
    """The inputs of a run in its order, or None if they can no longer be read or have changed."""
    details: Mapping[str, Any] = read_run_json(run.storage).get("details") or {}
    inputs = details.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(name, str) for name in inputs):
        return None
    try:
        reader = open_inputs(inputs, camera=run.config.camera)
        return reordered(reader, order_as(run.listing(), list_inputs(reader), run.storage.url))
    except CascadeError as error:
        logger.info("previews unavailable: %s", error)
        return None
