"""The model folders: finding, verifying, loading and writing them."""

from __future__ import annotations

import hashlib
import os
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import tomli_w

from cascade.errors import ModelError
from cascade.exposure import PREVIEW_SHAPE, Artifact
from cascade.quiet import import_keras

if TYPE_CHECKING:
    import keras

Task = Literal["screen", "segment"]

MODELS_VARIABLE = "CASCADE_MODELS"
"""Environment variable that names a folder of models."""

DEFAULT_MODELS: Mapping[Task, str] = {"screen": "screen-v0", "segment": "segment-v0"}
"""Models used where none is named."""

MAX_WEIGHTS_BYTES = 2 * 2**30
MAX_MODEL_TOML_BYTES = 2**20

_DESCRIPTION = "model.toml"
_WEIGHTS = "model.weights.h5"  # Keras insists on this ending
_TASK_OF: Mapping[str, Task] = {"screen_cnn": "screen", "mask_rcnn": "segment", "matterport": "segment"}
_GOLDEN_TOLERANCE = 0.02  # relative; float16 weights and bfloat16 engines stay below 0.01
_GOLDEN_FLOOR = 0.1  # outputs smaller than this are compared as if they were this large


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
    threshold
        Score in [0, 1] from which a screened exposure is flagged, or an instance is kept.
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
    threshold: float
    sha256: str
    description_sha256: str
    golden: tuple[float, ...]
    training: Mapping[str, Any]

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.folder / _WEIGHTS


def search_path(models_dir: str | Path | None = None) -> list[Path]:
    """
    Folders in which models are looked for, first to last.

    They are `models_dir` if given, ``$CASCADE_MODELS`` if set, and the zoo of the installed package or the checkout.
    """
    package = Path(__file__).parent
    given = [Path(folder) for folder in (models_dir, os.environ.get(MODELS_VARIABLE)) if folder]
    return given + [folder for folder in (package / "zoo", package.parent / "models") if folder.is_dir()]


def find_model(name: str | Path, models_dir: str | Path | None = None) -> ModelInfo:
    """
    Find a model by name, or by the path of its folder.

    Raises
    ------
    ModelError
        If there is none, naming every folder that was searched, or its description is damaged.
    """
    if os.sep in str(name) or Path(name).joinpath(_DESCRIPTION).is_file():
        return read_model(Path(name))
    folders = search_path(models_dir)
    for folder in folders:
        if folder.joinpath(name, _DESCRIPTION).is_file():
            return read_model(folder / name)
    searched = ", ".join(map(str, folders)) or "no folder"
    msg = f"model {str(name)!r}: not found in {searched}; `cascade models list` shows what there is"
    raise ModelError(msg)


def list_models(models_dir: str | Path | None = None) -> list[ModelInfo]:
    """All models on the search path, by name; of two with one name the first found."""
    found: dict[str, ModelInfo] = {}
    for folder in search_path(models_dir):
        for description in sorted(folder.glob(f"*/{_DESCRIPTION}")):
            found.setdefault(description.parent.name, read_model(description.parent))
    return [found[name] for name in sorted(found)]


def read_model(folder: Path) -> ModelInfo:
    """
    Read the description of a model; the weights are not touched.

    Raises
    ------
    ModelError
        If it is missing, incomplete or makes no sense.
    """
    path = folder / _DESCRIPTION
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
    except (ValueError, TypeError, RecursionError) as error:  # the last is TOML nested without end
        msg = f"{path}: damaged model description: {error}"
        raise ModelError(msg) from error
    if info.task not in get_args(Task):
        msg = f"{path}: task: expected one of {', '.join(get_args(Task))}, got {info.task!r}"
        raise ModelError(msg)
    if not 0.0 <= info.threshold <= 1.0:
        msg = f"{path}: threshold.score: expected a number in [0, 1], got {info.threshold}"
        raise ModelError(msg)
    return info


def verify_weights(info: ModelInfo) -> None:
    """
    Check the weights against the hash in the description.

    Raises
    ------
    ModelError
        If the file is missing, too large or another one.
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
        msg = f"{info.weights}: expected sha256 {info.sha256}, got {got}: the file is damaged or belongs elsewhere"
        raise ModelError(msg)


def load_network(info: ModelInfo) -> keras.Model:
    """
    Build the network of a model, load its weights and check its golden outputs.

    Raises
    ------
    ModelError
        If the hash is wrong, the architecture is not for the task, the weights do not fit it, or the outputs are not
        those of the day it was written.
    """
    verify_weights(info)
    network = build_network(info.architecture)
    check_task(info.architecture, info.task)
    try:
        with warnings.catch_warnings():
            # Keras would leave layers that the file lacks as they were initialised, with a warning.
            warnings.filterwarnings("error", message="Skipping nested container")
            network.load_weights(info.weights)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        msg = f"{info.weights}: the weights do not fit architecture {info.architecture.get('name')!r}: {error}"
        raise ModelError(msg.replace("\n", " ")) from error
    _check_golden(info, golden_outputs(network, info.task))
    return network


def build_network(architecture: Mapping[str, Any]) -> keras.Model:
    """
    Build a network from the `[architecture]` table of a description: its `name` and its parameters.

    Raises
    ------
    ModelError
        If no network has that name or the parameters are not its own.
    """
    import_keras()
    builders = _builders()
    parameters = {key: value for key, value in architecture.items() if key != "name"}
    name = architecture.get("name")
    if name not in builders:
        msg = f"architecture: expected one of {', '.join(builders)}, got {name!r}"
        raise ModelError(msg)
    try:
        return builders[name](parameters)
    except (TypeError, ValueError, ArithmeticError) as error:
        msg = f"architecture {name!r}: {error}"
        raise ModelError(msg) from error


def check_task(architecture: Mapping[str, Any], task: Task) -> None:
    """
    Check that a network that can be built is one for a task.

    Raises
    ------
    ModelError
        If it is not.
    """
    name = architecture["name"]
    if _TASK_OF[name] != task:
        msg = f"expected a network to {task}, got architecture {name!r}, one to {_TASK_OF[name]}"
        raise ModelError(msg)


def write_model(
    folder: Path, network: keras.Model, *, task: Task, architecture: Mapping[str, Any], threshold: float,
    training: Mapping[str, Any], half: bool = True,
) -> ModelInfo:  # fmt: skip
    """
    Write a model folder: weights, and the description with their hash and golden outputs.

    Parameters
    ----------
    folder : Path
        Created if missing; files of an earlier model in it are replaced.
    network : keras.Model
        Built by `build_network` from `architecture`.
    task : str
    architecture : mapping
        The network's name and parameters.
    threshold : float
        Score in [0, 1] from which a screened exposure is flagged, or an instance is kept.
    training : mapping
        How it was made; goes into the description as it is.
    half : bool
        Store the weights in float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / _WEIGHTS
    network.save_weights(weights)
    if half:
        _halve(weights)
        network.load_weights(weights)  # so that the golden outputs are those of the rounded weights
    description = {
        "task": task,
        "architecture": dict(architecture),
        "input": {
            "shape": list(PREVIEW_SHAPE),
            "dtype": "uint8",
            "meaning": "background-subtracted focal-plane preview, grey levels 0-255",
        },
        "classes": [artifact.label for artifact in Artifact] if task == "segment" else ["clean", "ghosted"],
        "threshold": {"score": threshold},
        "weights": {
            "file": _WEIGHTS,
            "sha256": file_sha256(weights),
            "golden": [round(float(value), 5) for value in golden_outputs(network, task)],
        },
        "training": dict(training),
    }
    folder.joinpath(_DESCRIPTION).write_text(tomli_w.dumps(description), encoding="utf-8")
    return read_model(folder)


def golden_images() -> npt.NDArray[np.uint8]:
    """Two drawn previews, (2, 400, 400) uint8, on which every model's outputs are recorded: noise, and a ring in it."""
    noise = np.random.default_rng(20211).normal(53.0, 12.0, (2, *PREVIEW_SHAPE))
    y, x = np.indices(PREVIEW_SHAPE)
    ring = np.abs(np.hypot(y - 150.0, x - 260.0) - 45.0) < 6.0
    noise[1, ring] += 70.0
    return np.clip(noise, 0, 255).astype(np.uint8)


def golden_outputs(network: keras.Model, task: Task) -> npt.NDArray[np.float32]:
    """A few numbers that change when any part of a network does, as a 1-D float32 array."""
    images = golden_images()[..., None].astype(np.float32)
    if task == "screen":
        return np.asarray(network.predict_on_batch(images), np.float32).ravel()
    from cascade.nets.mask_rcnn import probe

    return probe(network, images)


def _check_golden(info: ModelInfo, got: npt.NDArray[np.float32]) -> None:
    """Compare outputs with those of the description."""
    expected = np.asarray(info.golden, np.float32)
    tolerance = _GOLDEN_TOLERANCE * np.maximum(np.abs(expected), _GOLDEN_FLOOR)
    if got.shape != expected.shape or not np.all(np.abs(got - expected) <= tolerance):
        msg = f"{info.folder}: expected golden outputs {_short(expected)}, got {_short(got)}: weights or code changed"
        raise ModelError(msg)


def _short(values: Sequence[float] | npt.NDArray[np.float32]) -> str:
    """The first few numbers, for a message."""
    return "[" + ", ".join(f"{value:.3g}" for value in values[:6]) + "]"


def _builders() -> dict[str, Callable[[dict[str, Any]], keras.Model]]:
    """Networks by name; here, since importing Keras takes seconds."""
    from cascade.nets.classifier import build_screen_cnn
    from cascade.nets.compact import CompactConfig, build_compact
    from cascade.nets.matterport import MatterportConfig, build_matterport

    return {
        "screen_cnn": lambda parameters: build_screen_cnn(**parameters),
        "mask_rcnn": lambda parameters: build_compact(CompactConfig(**_frozen(parameters))),
        "matterport": lambda parameters: build_matterport(MatterportConfig(**parameters)),
    }


def _frozen(parameters: dict[str, Any]) -> dict[str, Any]:
    """Lists as tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}


def _halve(weights: Path) -> None:
    """Store float32 weights as float16, but for those beyond its range (a moving variance, say)."""
    import h5py

    with h5py.File(weights, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        values = {name: file[name][()] for name in names}
    weights.unlink()  # HDF5 never gives back the room of a replaced dataset
    with h5py.File(weights, "w") as file:
        for name, value in values.items():
            fits = value.dtype == np.float32 and np.all(np.abs(value) <= np.finfo(np.float16).max)
            file.create_dataset(name, data=value.astype(np.float16) if fits else value)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
