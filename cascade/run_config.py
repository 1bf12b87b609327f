"""What determines the result of a run, and how its exposures are cut into batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from cascade.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelId:
    """A model folder's name, and the sha256 of its weights and of its description, which holds its threshold."""

    name: str
    sha256: str
    description_sha256: str


@dataclass(frozen=True, slots=True)
class RunConfig:
    """
    All that determines the result of a run; a run is resumed only with the same.

    Attributes
    ----------
    inputs
        Fingerprint of the listed inputs, see `cascade.pipeline.fingerprint`.
    n_exposures
        Number of inputs, at least 1.
    screen
        The screening network, or None to segment every exposure.
    segment
        The segmenting network, or None if it comes from no model folder.
    threshold
        Screen score in [0, 1] from which an exposure is flagged; None exactly when `screen` is.
    batch_size
        Exposures a batch, which is one task, one shard of masks and one part of every table.
    camera
        Name of the camera, see `cascade.camera.Camera.load`.

    Raises
    ------
    ConfigError
        If a value is out of range, or threshold and screen do not fit together.
    """

    inputs: str
    n_exposures: int
    screen: ModelId | None
    segment: ModelId | None
    threshold: float | None
    batch_size: int = 256
    camera: str = "decam"

    def __post_init__(self) -> None:
        for name in ("n_exposures", "batch_size"):
            if getattr(self, name) < 1:
                msg = f"{name}: expected at least 1, got {getattr(self, name)}"
                raise ConfigError(msg)
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            msg = f"threshold: expected a number in [0, 1], got {self.threshold}"
            raise ConfigError(msg)
        if (self.screen is None) != (self.threshold is None):
            msg = f"threshold: expected one with a screen and none without, got {self.threshold} and {self.screen}"
            raise ConfigError(msg)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild from `dataclasses.asdict`; raises KeyError, TypeError or ConfigError for anything else."""
        values = {"camera": "decam", **values}  # the first runs knew no other
        known = {f.name: values[f.name] for f in fields(cls)}
        models = {name: known[name] and ModelId(**known[name]) for name in ("screen", "segment")}
        return cls(**{**known, **models})


@dataclass(frozen=True, slots=True)
class Batch:
    """Exposures `start` to `stop` (half-open) of the input: one task, one shard, one commit."""

    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def batches(n_exposures: int, size: int) -> list[Batch]:
    """Cut a number of exposures into batches of `size`; the last may be shorter."""
    starts = range(0, n_exposures, size)
    return [Batch(index, start, min(start + size, n_exposures)) for index, start in enumerate(starts)]
