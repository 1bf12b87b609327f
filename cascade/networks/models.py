"""Find, verify, load and write model folders."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import tomli_w

from cascade.core.artifact import MAX_CLASSES, Artifact
from cascade.core.errors import ModelError
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.core.keras_startup import import_keras
from cascade.core.plain_files import open_plain
from cascade.core.records import read_record, shown
from cascade.networks.calibration import Calibration, Guarantee
from cascade.networks.golden import check_golden, golden_outputs
from cascade.networks.model_info import DESCRIPTION, MAP_CLASSES, WEIGHTS, ModelInfo, Task, read_model
from cascade.storage.atomic import written_aside

if TYPE_CHECKING:
    import keras

T = TypeVar("T")

MODELS_VARIABLE = "CASCADE_MODELS"
"""Environment variable with a folder of models."""

DEFAULT_MODELS: Mapping[Task, str] = {"screen": "screen-v1", "segment": "segment-lite-v1"}
"""Default model of each task."""

MAX_WEIGHTS_BYTES = 2 * 2**30

_TASK_OF: Mapping[str, Task] = {
    "screen_cnn": "screen",
    "mask_rcnn": "segment",
    "semantic": "segment",
    "matterport": "segment",
}


def search_path(models_dir: str | Path | None = None) -> list[Path]:
    """
    Folders searched for models, in order.

    They are `models_dir` if given, ``$CASCADE_MODELS`` if set, and the zoo of the installed package or the checkout.
    """
    package = Path(__file__).parents[1]
    given = [Path(folder) for folder in (models_dir, os.environ.get(MODELS_VARIABLE)) if folder]
    return given + [folder for folder in (package / "zoo", package.parent / "models") if folder.is_dir()]


def find_model(name: str | Path, models_dir: str | Path | None = None) -> ModelInfo:
    """
    Find a model by name or folder.

    Raises
    ------
    ModelError
        If it is not found, with the searched folders, or its description is damaged.
    """
    if os.sep in str(name) or Path(name).joinpath(DESCRIPTION).is_file():
        return read_model(Path(name))
    folders = search_path(models_dir)
    for folder in folders:
        if folder.joinpath(name, DESCRIPTION).is_file():
            return read_model(folder / name)
    searched = ", ".join(map(str, folders)) or "no folder"
    msg = f"model {str(name)!r}: not found in {searched}; `cascade models list` lists the available ones"
    raise ModelError(msg)


def list_models(models_dir: str | Path | None = None) -> list[ModelInfo]:
    """All models on the search path, by name; the first found of each name."""
    found: dict[str, ModelInfo] = {}
    for folder in search_path(models_dir):
        for description in sorted(folder.glob(f"*/{DESCRIPTION}")):
            found.setdefault(description.parent.name, read_model(description.parent))
    return [found[name] for name in sorted(found)]


def verify_weights(info: ModelInfo) -> None:
    """
    Check the weights against the hash in the description.

    Raises
    ------
    ModelError
        If the file is missing, too large or has another hash.
    """
    try:
        size = info.weights.stat().st_size
        if size > MAX_WEIGHTS_BYTES:
            msg = f"{info.weights}: expected weights of at most {MAX_WEIGHTS_BYTES} bytes, got {size}"
            raise ModelError(msg)
        got = file_sha256(info.weights)
    except OSError as error:
        msg = f"{info.weights}: cannot read the weights: {error.strerror}"
        raise ModelError(msg) from error
    if got != info.sha256:
        msg = f"{info.weights}: expected sha256 {info.sha256}, got {got}: the file is damaged or of another model"
        raise ModelError(msg)


def load_network(info: ModelInfo) -> keras.Model:
    """
    Build the network of a model, load its weights and check its golden outputs.

    Raises
    ------
    ModelError
        If the hash is wrong, the architecture is not for the task, the weights do not fit it or are for another number
        of classes than the description names, or the golden outputs are not reproduced.
    """
    verify_weights(info)
    network = build_network(info.architecture, info.classes)
    check_task(info.architecture, info.task)
    try:
        with warnings.catch_warnings():
            # Layers missing from the file would keep their initial weights, with only a warning.
            warnings.filterwarnings("error", message="Skipping nested container")
            network.load_weights(info.weights)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        _check_n_classes(info)
        msg = f"{info.weights}: the weights do not fit architecture {info.architecture.get('name')!r}: {error}"
        raise ModelError(msg.replace("\n", " ")) from error
    check_golden(info, golden_outputs(network, info.task))
    return network


def calibrated_copy(
    info: ModelInfo, out: Path, calibration: Calibration, guarantees: Sequence[Guarantee], *, default: bool
) -> ModelInfo:
    """
    Copy a screen's folder, with a calibration and recall guarantees in its description.

    Parameters
    ----------
    info : ModelInfo
    out : Path
        New folder.
    calibration : Calibration
        Of the model's scores; applied after its existing calibrations.
    guarantees : sequence of Guarantee
        On the calibrated scores; replace those of the model, which refer to other scores.
    default : bool
        Use the threshold of the first as the model's; else keep the model's, mapped to the calibrated scores.

    Raises
    ------
    ModelError
        If `out` exists.
    """
    if out.exists():
        msg = f"{out}: expected a new folder for the calibrated model"
        raise ModelError(msg)
    shutil.copytree(info.folder, out)
    path = out / DESCRIPTION
    description = tomllib.loads(path.read_text(encoding="utf-8"))
    before = float(calibration(np.array([info.threshold], np.float32))[0])
    description["threshold"]["score"] = guarantees[0].threshold if default else before
    description["calibration"] = [asdict(one) for one in (*info.calibration, calibration)]
    description["guarantee"] = [asdict(guarantee) for guarantee in guarantees]
    with written_aside(path) as aside:
        aside.write_text(tomli_w.dumps(description), encoding="utf-8")
    return read_model(out)


def build_network(architecture: Mapping[str, Any], classes: Sequence[Artifact] = tuple(Artifact)) -> keras.Model:
    """
    Build a network.

    Parameters
    ----------
    architecture : mapping
        The `[architecture]` table of a description: its `name` and its parameters.
    classes : sequence of Artifact
        What it tells apart, in the order of its outputs.

    Raises
    ------
    ModelError
        If no network has that name or the parameters are invalid for it.
    """
    import_keras()
    builders = _builders()
    parameters = {key: value for key, value in architecture.items() if key != "name"}
    name = architecture.get("name")
    if not isinstance(name, str) or name not in builders:
        msg = f"architecture: expected one of {', '.join(builders)}, got {shown(name)}"
        raise ModelError(msg)
    try:
        return builders[name](parameters, len(classes))
    except (TypeError, ValueError, ArithmeticError) as error:
        msg = f"architecture {name!r}: {error}"
        raise ModelError(msg) from error


def check_task(architecture: Mapping[str, Any], task: Task) -> None:
    """
    Check that an architecture is for a task.

    Raises
    ------
    ModelError
        If it is not.
    """
    name = architecture["name"]
    if _TASK_OF[name] != task:
        msg = f"expected an architecture for task {task!r}, got {name!r}, which is for {_TASK_OF[name]!r}"
        raise ModelError(msg)


def write_model(
    folder: Path, network: keras.Model, *, task: Task, architecture: Mapping[str, Any], threshold: float,
    training: Mapping[str, Any], classes: Sequence[Artifact] = tuple(Artifact), semantic: float | None = None,
    half: bool = True,
) -> ModelInfo:  # fmt: skip
    """
    Write a model folder: weights, and the description with their hash and golden outputs.

    Parameters
    ----------
    folder : Path
        Created if missing; an earlier model in it is overwritten.
    network : keras.Model
        Built by `build_network` from `architecture`.
    task : str
    architecture : mapping
        Name and parameters of the network.
    threshold : float
        Minimum score, in [0, 1], of flagged exposures or of kept instances.
    training : mapping
        Provenance, recorded in the description.
    classes : sequence of Artifact
        With which the network was built.
    semantic : float or None
        Minimum probability of the semantic map; None for a network without one.
    half : bool
        Store the weights in float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS
    network.save_weights(weights)
    if half:
        _halve(weights)
        network.load_weights(weights)  # so that the golden outputs are those of the rounded weights
    labels = [artifact.label for artifact in classes]
    description = {
        "task": task,
        "architecture": dict(architecture),
        "input": {
            "shape": list(PREVIEW_SHAPE),
            "dtype": "uint8",
            "meaning": "background-subtracted focal-plane preview, grey levels 0-255",
        },
        **({"classes": labels} if task == "segment" else {"classes": ["clean", "ghosted"], MAP_CLASSES: labels}),
        "threshold": {"score": threshold, **({} if semantic is None else {"semantic": semantic})},
        "weights": {
            "file": WEIGHTS,
            "sha256": file_sha256(weights),
            "golden": [round(float(value), 5) for value in golden_outputs(network, task)],
        },
        "training": dict(training),
    }
    folder.joinpath(DESCRIPTION).write_text(tomli_w.dumps(description), encoding="utf-8")
    return read_model(folder)


def _check_n_classes(info: ModelInfo) -> None:
    """Raise ModelError if the weights are for another number of classes than the description names."""
    sizes = [_n_values(build_network(info.architecture, tuple(Artifact)[:n])) for n in (1, 2)]
    n_classes, rest = divmod(_n_stored(info.weights) - sizes[0], sizes[1] - sizes[0])
    n_classes += 1
    if rest == 0 and 1 <= n_classes <= MAX_CLASSES and n_classes != len(info.classes):
        named = ", ".join(artifact.label for artifact in info.classes)
        msg = (
            f"{info.folder / DESCRIPTION}: names {len(info.classes)} classes ({named}), but the network has {n_classes}"
        )
        raise ModelError(msg)


def _n_values(network: keras.Model) -> int:
    """Numbers in the weights of a network, which grow by as many with each class."""
    return sum(math.prod(variable.shape) for variable in network.variables)


def _n_stored(weights: Path) -> int:
    """Numbers in a file of weights; 0 if it cannot be read."""
    import h5py

    sizes: list[int] = []
    with contextlib.suppress(OSError), h5py.File(weights, "r") as file:
        file.visititems(lambda _name, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
    return sum(sizes)


def _builders() -> dict[str, Callable[[dict[str, Any], int], keras.Model]]:
    """Networks by name, of parameters and a number of classes; imported lazily, since Keras takes seconds."""
    from cascade.networks.nets.classifier import build_screen_cnn
    from cascade.networks.nets.compact import CompactConfig, build_compact, build_semantic_net
    from cascade.networks.nets.matterport import MatterportConfig, build_matterport

    return {
        "screen_cnn": lambda parameters, n: build_screen_cnn(**parameters, n_classes=n),
        "mask_rcnn": lambda parameters, n: build_compact(_config(CompactConfig, parameters, "mask_rcnn"), n),
        "semantic": lambda parameters, n: build_semantic_net(_config(CompactConfig, parameters, "semantic"), n),
        "matterport": lambda parameters, n: build_matterport(_config(MatterportConfig, parameters, "matterport"), n),
    }


def _config(kind: type[T], parameters: Mapping[str, Any], name: str) -> T:
    """The configuration of a network, or ModelError."""
    return read_record(kind, parameters, where=f"architecture {name!r}", error=ModelError)


def _halve(weights: Path) -> None:
    """Store float32 weights as float16, except those outside its range (such as a moving variance)."""
    import h5py

    with h5py.File(weights, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        values = {name: file[name][()] for name in names}
    weights.unlink()  # HDF5 never frees the space of a replaced dataset
    with h5py.File(weights, "w") as file:
        for name, value in values.items():
            fits = value.dtype == np.float32 and np.all(np.abs(value) <= np.finfo(np.float16).max)
            file.create_dataset(name, data=value.astype(np.float16) if fits else value)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
