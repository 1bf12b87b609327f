"""The classes of artifact that a run distinguishes: those of its model, or of the code that wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from cascade.core.artifact import MAX_CLASSES, PAPER_CLASSES, Artifact
from cascade.core.errors import ConfigError, StoreError


@dataclass(frozen=True, slots=True)
class RunClass:
    """
    One class, as ``run.json`` names it; the code that reads it need not know it.

    Attributes
    ----------
    label
        Its name in tables.
    bit
        Its flag in mask planes.

    Raises
    ------
    ConfigError
        If the bit is invalid, or that of another class: then the masks cannot be read.
    """

    label: str
    bit: int

    def __post_init__(self) -> None:
        if self.bit not in (1 << k for k in range(MAX_CLASSES)):
            msg = f"class {self.label}: expected one bit of a uint8 mask, got {self.bit!r}"
            raise ConfigError(msg)
        for artifact in Artifact:
            if (artifact.label == self.label) != (artifact.bit == self.bit):
                msg = (
                    f"class {self.label}: expected another bit than {self.bit}: here {artifact.bit} is {artifact.label}"
                )
                raise ConfigError(msg)

    @classmethod
    def of(cls, artifacts: Iterable[Artifact]) -> tuple[Self, ...]:
        """Classes that the code knows, by rising bit."""
        return tuple(cls(artifact.label, artifact.bit) for artifact in sorted(artifacts))


PAPER_RUN_CLASSES = RunClass.of(PAPER_CLASSES)
"""Default for runs whose ``run.json`` names none."""


def check_known(classes: Iterable[RunClass], where: object) -> None:
    """
    Reject runs with classes that the code does not know and would drop.

    Raises
    ------
    StoreError
        If there is one.
    """
    known = [artifact.label for artifact in Artifact]
    strangers = [class_.label for class_ in classes if class_.label not in known]
    if strangers:
        msg = (
            f"{where}: expected the classes {', '.join(known)}, got also {', '.join(strangers)}, which would be lost; "
            "use the version of ghost-cascade that wrote it"
        )
        raise StoreError(msg)
