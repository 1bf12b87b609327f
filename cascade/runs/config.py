"""The configuration of a run, and how its exposures are divided into batches."""

from __future__ import annotations

from dataclasses import dataclass

from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError
from cascade.networks.model_id import ModelId
from cascade.runs.classes import RunClass

PREDICTOR = "raytrace"
"""Name of the segmenting model in the ``run.json`` of a run of predictions."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """
    All that determines the result of a run; a run is resumed only with an equal one.

    Attributes
    ----------
    inputs
        Fingerprint of the listed inputs, see `cascade.inputs.listing.fingerprint`.
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
    additions
        How many of the inputs were added by each later call; they fill batches of their own.
    classes
        The classes of artifact that can be found, by rising bit.

    Raises
    ------
    ConfigError
        If a value is out of range, threshold and screen do not fit together, or there is no class or one twice.
    """

    inputs: str
    n_exposures: int
    screen: ModelId | None
    segment: ModelId | None
    threshold: float | None
    batch_size: int
    camera: str = "decam"  # the first runs had no other, and do not store it
    additions: tuple[int, ...] = ()
    classes: tuple[RunClass, ...] = RunClass.of(Artifact)

    def __post_init__(self) -> None:
        for name in ("n_exposures", "batch_size"):
            if getattr(self, name) < 1:
                msg = f"{name}: expected at least 1, got {getattr(self, name)}"
                raise ConfigError(msg)
        sizes = (self.n_exposures - sum(self.additions), *self.additions)
        if min(sizes) < 1:
            msg = f"additions: expected at least 1 exposure at first and in each, got {sizes}"
            raise ConfigError(msg)
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            msg = f"threshold: expected a number in [0, 1], got {self.threshold}"
            raise ConfigError(msg)
        if (self.screen is None) != (self.threshold is None):
            msg = f"threshold: expected one with a screen and none without, got {self.threshold} and {self.screen}"
            raise ConfigError(msg)
        labels, bits = ([getattr(class_, name) for class_ in self.classes] for name in ("label", "bit"))
        if not bits or bits != sorted(set(bits)) or len(set(labels)) < len(labels):
            msg = f"classes: expected at least one and each once, by rising bit, got {self.classes}"
            raise ConfigError(msg)

    @property
    def n_positions(self) -> int:
        """Mask planes, with those that hold no exposure; see `batches`."""
        return batches(self.n_exposures, self.batch_size, self.additions)[-1].stop

    @property
    def is_predicted(self) -> bool:
        """Whether its artifacts are predictions of the sky, not findings."""
        return self.segment is not None and self.segment.name == PREDICTOR

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(class_.label for class_ in self.classes)


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Positions `start` to `stop` (half-open) of a run: one task, one shard, one commit.

    Attributes
    ----------
    index
        Number of the batch, and of its shard.
    start, stop
        Positions in ``masks.zarr`` and in the column ``exposure``.
    n_skipped
        Positions before it that hold no exposure; see `batches`.
    """

    index: int
    start: int
    stop: int
    n_skipped: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def first_input(self) -> int:
        """Number of its first exposure among the inputs of the run."""
        return self.start - self.n_skipped


def batches(n_exposures: int, size: int, additions: tuple[int, ...] = ()) -> list[Batch]:
    """
    Divide exposures into batches of `size`; the last may be shorter.

    Those of every addition begin a new batch, and so a new shard, so that batches that are done stay as they are.
    """
    cut: list[Batch] = []
    first_input = 0
    for n_added in (n_exposures - sum(additions), *additions):
        start = len(cut) * size
        skipped, stop = start - first_input, start + n_added
        cut += [Batch(at // size, at, min(at + size, stop), skipped) for at in range(start, stop, size)]
        first_input += n_added
    return cut
