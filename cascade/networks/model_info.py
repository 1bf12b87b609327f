"""The description of a model: `model.toml` in its folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from cascade.core.artifact import PAPER_CLASSES, Artifact, read_classes
from cascade.core.errors import ModelError
from cascade.core.plain_files import open_plain
from cascade.core.records import Range, parse_toml, read_record
from cascade.networks.calibration import Calibration, Guarantee
from cascade.networks.model_id import ModelId

Task = Literal["screen", "segment"]

MAX_MODEL_TOML_BYTES = 2**20

DESCRIPTION = "model.toml"
WEIGHTS = "model.weights.h5"  # Keras insists on this ending
MAP_CLASSES = "map_classes"  # of a screen, whose `classes` are clean and ghosted


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """
    Content of a `model.toml`.

    Attributes
    ----------
    name
        Name of the model and of its folder.
    task
        ``"screen"`` or ``"segment"``.
    folder
        The model folder.
    architecture
        Name of the network and its parameters.
    classes
        What a segmenter tells apart, in the order of its outputs; of a screen, what its map does.
    threshold
        Minimum score, in [0, 1], of flagged exposures or of kept instances.
    semantic
        Minimum probability, in (0, 1], of pixels of the semantic map that become artifacts.
    calibration
        Maps from the screen's raw score to a probability, applied in order; usually one or none.
    guarantees
        Thresholds of the screen with a guaranteed recall.
    sha256
        Hash of the weights, in hexadecimal.
    description_sha256
        Hash of `model.toml` itself, which holds the thresholds and limits.
    golden
        Outputs of the network for `golden_images` when it was written.
    training
        Provenance: data, command, metrics.
    """

    name: str
    task: Task
    folder: Path
    architecture: Mapping[str, Any]
    classes: tuple[Artifact, ...]
    threshold: float
    semantic: float
    calibration: tuple[Calibration, ...]
    guarantees: tuple[Guarantee, ...]
    sha256: str
    description_sha256: str
    golden: tuple[float, ...]
    training: Mapping[str, Any]

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.folder / WEIGHTS

    @property
    def learned_expnums(self) -> frozenset[int] | None:
        """Numbers of the annotated exposures that it learned from; None if its description does not say."""
        given = self.training.get("exposures")
        if isinstance(given, list):
            return frozenset(number for number in given if isinstance(number, int))
        only_synthetic = "season" in self.training and "start" not in self.training
        return frozenset() if only_synthetic else None

    @property
    def identity(self) -> ModelId:
        """What makes a model the same model."""
        return ModelId(self.name, self.sha256, self.description_sha256)


@dataclass(frozen=True, slots=True)
class _Threshold:
    """The table ``[threshold]``."""

    score: Annotated[float, Range(0, 1)]
    semantic: Annotated[float, Range(0, 1, open_low=True)] = 0.5


@dataclass(frozen=True, slots=True)
class _Weights:
    """The table ``[weights]``."""

    sha256: str
    golden: tuple[float, ...]
    file: str = WEIGHTS


@dataclass(frozen=True, slots=True)
class _Description:
    """A whole `model.toml`; `input` is for people, and so are the `classes` of a screen."""

    task: Task
    architecture: Mapping[str, Any]
    threshold: _Threshold
    weights: _Weights
    classes: tuple[str, ...] = ()
    map_classes: tuple[str, ...] = tuple(artifact.label for artifact in PAPER_CLASSES)
    input: Mapping[str, Any] = field(default_factory=dict)
    calibration: tuple[Calibration, ...] = ()
    guarantee: tuple[Guarantee, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)


def read_model(folder: Path) -> ModelInfo:
    """
    Read the description of a model, but not its weights.

    Raises
    ------
    ModelError
        If it is missing, incomplete or invalid.
    """
    path = folder / DESCRIPTION
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_MODEL_TOML_BYTES:
                msg = f"{path}: expected at most {MAX_MODEL_TOML_BYTES} bytes, got {size}"
                raise ModelError(msg)
            content = file.read()
    except OSError as error:
        msg = f"{path}: cannot read the model: {error.strerror}"
        raise ModelError(msg) from error
    tables = parse_toml(content, where=str(path), error=ModelError)
    says = read_record(_Description, tables, where=str(path), error=ModelError)
    # Screens from before they could name any have the classes of the paper.
    key = "classes" if says.task == "segment" else MAP_CLASSES
    return ModelInfo(
        name=folder.resolve().name,
        task=says.task,
        folder=folder,
        architecture=says.architecture,
        classes=read_classes(getattr(says, key), f"{path}: key {key}", ModelError),
        threshold=says.threshold.score,
        semantic=says.threshold.semantic,
        calibration=says.calibration,
        guarantees=says.guarantee,
        sha256=says.weights.sha256,
        description_sha256=hashlib.sha256(content).hexdigest(),
        golden=says.weights.golden,
        training=says.training,
    )
