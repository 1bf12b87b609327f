"""The description of a model: `model.toml` in its folder."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cascade.core.errors import ModelError
from cascade.networks.calibration import Calibration, Guarantee

Task = Literal["screen", "segment"]

MAX_MODEL_TOML_BYTES = 2**20

DESCRIPTION = "model.toml"
WEIGHTS = "model.weights.h5"  # Keras insists on this ending


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
    Read the description of a model, but not its weights.

    Raises
    ------
    ModelError
        If it is missing, incomplete or invalid.
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
    except KeyError as error:
        msg = f"{path}: expected a key {error}, which is missing"
        raise ModelError(msg) from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # the last: deeply nested TOML
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
