"""Identity of a model, as recorded in a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelId:
    """Name of a model folder, and sha256 of its weights and of its description, which includes the threshold."""

    name: str
    sha256: str
    description_sha256: str
