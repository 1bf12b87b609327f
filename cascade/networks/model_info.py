"""What a model folder says of itself: `model.toml`."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cascade.core.artifact import PAPER_CLASSES, Artifact
from cascade.core.errors import InputError, ModelError
from cascade.networks.calibration import Calibration, Guarantee

Task = Literal["screen", "segment"]

MAX_MODEL_TOML_BYTES = 2**20

DESCRIPTION = "model.toml"
WEIGHTS = "model.weights.h5"  # Keras insists on this ending
MAP_CLASSES = "map_classes"  # of a screen, whose `classes` are clean and ghosted


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """
    What the `model.toml` of a model folder says.

    Attributes
    ----------
    name
        Name of the model, which is that of its folder.
    task
        ``"screen"`` or ``"segment"``.
    folder
        Where it lies.
    architecture
        Name of the network and its parameters.
    classes
        What a segmenter tells apart, in the order of its outputs; of a screen, what its map does.
    threshold
        Score in [0, 1] from which a screened exposure is flagged, or an instance is kept.
    semantic
        Probability in (0, 1] from which the semantic map of a network that has one makes artifacts.
    calibration
        What turns the screen's raw score into a probability, in order; usually one or none.
    guarantees
        Thresholds of the screen with a promised recall.
    sha256
        Hash of the weights, in hexadecimal.
    description_sha256
        Hash of `model.toml` itself, which holds the threshold and the limits that the weights do not know.
    golden
        Outputs that the network gave for `golden_images` when it was written.
    training
        How it was made: data, command, figures.
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


def read_model(folder: Path) -> ModelInfo:
    """
    Read the description of a model; the weights are not touched.

    Raises
    ------
    ModelError
        If it is missing, incomplete or makes no sense.
    """
    path = folder / DESCRIPTION
    try:
        if path.stat().st_size > MAX_MODEL_TOML_BYTES:
            msg = f"{path}: expected at most {MAX_MODEL_TOML_BYTES} bytes, got {path.stat().st_size}"
            raise ModelError(msg)
        content = path.read_bytes()
        text = tomllib.loads(content.decode("utf-8"))
        info = ModelInfo(
            name=folder.resolve().name,
            task=text["task"],
            folder=folder,
            architecture=dict(text["architecture"]),
            classes=_classes(text),
            threshold=float(text["threshold"]["score"]),
            semantic=float(text["threshold"].get("semantic", 0.5)),
            calibration=tuple(Calibration.from_toml(table) for table in text.get("calibration", ())),
            guarantees=tuple(Guarantee.from_toml(table) for table in text.get("guarantee", ())),
            sha256=str(text["weights"]["sha256"]),
            description_sha256=hashlib.sha256(content).hexdigest(),
            golden=tuple(map(float, text["weights"]["golden"])),
            training=dict(text.get("training", {})),
        )
    except OSError as error:
        msg = f"{path}: cannot read the model: {error.strerror}"
        raise ModelError(msg) from error
    except InputError as error:
        msg = f"{path}: {error}"
        raise ModelError(msg) from error
    except KeyError as error:
        msg = f"{path}: expected a key {error}, which is missing"
        raise ModelError(msg) from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # the last is TOML nested without end
        msg = f"{path}: damaged model description: {error}"
        raise ModelError(msg) from error
    if info.task not in get_args(Task):
        msg = f"{path}: task: expected one of {', '.join(get_args(Task))}, got {info.task!r}"
        raise ModelError(msg)
    if not 0.0 < info.semantic <= 1.0:
        msg = f"{path}: threshold.semantic: expected a number in (0, 1], got {info.semantic}"
        raise ModelError(msg)
    if not 0.0 <= info.threshold <= 1.0:
        msg = f"{path}: threshold.score: expected a number in [0, 1], got {info.threshold}"
        raise ModelError(msg)
    return info


def _classes(text: Mapping[str, Any]) -> tuple[Artifact, ...]:
    """The classes that a description names; screens from before they could name any have those of the paper."""
    key = "classes" if text["task"] == "segment" else MAP_CLASSES
    labels = text[key] if key == "classes" else text.get(key, [artifact.label for artifact in PAPER_CLASSES])
    classes = tuple(Artifact.from_label(str(label)) for label in labels) if isinstance(labels, list) else ()
    if not classes or len(set(classes)) < len(classes):
        msg = f"{key}: expected a list of artifact classes, each once, got {labels!r}"
        raise InputError(msg)
    return classes
