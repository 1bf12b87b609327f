"""Which model it is: what a run remembers of the networks that made it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelId:
    """A model folder's name, and the sha256 of its weights and of its description, which holds its threshold."""

    name: str
    sha256: str
    description_sha256: str
