"""Training configurations: TOML files beside the models that they make."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, InputError
from cascade.networks.nets.presets import PRESETS

T = TypeVar("T")

_RANGES: Mapping[str, tuple[float, float]] = {
    "threshold": (0, 1),
    "semantic": (1e-3, 1),
    "share": (0, 1),
    "clean_share": (0, 1),
    "warp_share": (0, 1),
    "injected_share": (0, 1),
    "n_exposures": (1, math.inf),
    "ghosted_share": (0, 1),
    "steps": (1, math.inf),
    "batch": (1, math.inf),
    "learning_rate": (0, math.inf),
    "weight_decay": (0, math.inf),
    "average": (0, 0.99999),
    "validate_every": (0, math.inf),
    "patience": (1, math.inf),
    "seed": (0, 2**32 - 1),  # what numpy.random.seed takes
}
"""Smallest and largest value of each number."""

DATA_VARIABLE = "CASCADE_DATA"
"""Environment variable that names the folder to which data paths are relative; default ``../shared/data``."""


@dataclass(frozen=True, slots=True)
class RealConfig:
    """
    Real exposures to learn from.

    Attributes
    ----------
    images, annotations
        Exposures and the folder of VIA files, relative to ``$CASCADE_DATA``.
    share
        Share of the training images that come from them, in [0, 1]; the rest are synthetic.
    clean_share
        Share of those that are clean mosaics of unmarked CCDs, in [0, 1].
    injected_share
        Share of those that are clean mosaics with synthetic artifacts, in [0, 1].
    warp_share
        Share of the remaining ones that are turned by any angle and put on another sky, in [0, 1].
    """

    images: str
    annotations: str
    share: float
    clean_share: float
    injected_share: float
    warp_share: float


@dataclass(frozen=True, slots=True)
class SeasonConfig:
    """
    Synthetic exposures to learn from; see `cascade simulate`.

    Attributes
    ----------
    n_exposures, ghosted_share, seed
        As they were drawn.
    """

    n_exposures: int
    ghosted_share: float
    seed: int

    @property
    def drawn(self) -> dict[str, float]:
        """The same as `season.json` has it."""
        return {"n_exposures": self.n_exposures, "ghosted_share": self.ghosted_share, "seed": self.seed}


@dataclass(frozen=True, slots=True)
class FitConfig:
    """
    How to learn.

    Attributes
    ----------
    steps, batch
        Gradient steps, rounded up to a multiple of 50 (a checkpoint), and images a step.
    learning_rate, weight_decay
        Peak rate and decay of AdamW; the rate warms up over 5 % of the steps and falls to 0 as a cosine.
    average
        Of the weights: the share of the old mean that each step keeps, in [0, 1); 0: no mean. The mean is validated and
        shipped.
    validate_every
        Steps between two validations on the synthetic season's last exposures; the best weights are kept. 0: never.
    patience
        Validations without improvement after which training stops.
    precision
        Keras dtype policy, ``"float32"`` or ``"mixed_bfloat16"``.
    seed
        Of everything random.
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    average: float
    validate_every: int
    patience: int
    precision: str
    seed: int


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """
    A whole training, as its file says.

    Attributes
    ----------
    architecture
        Network name and parameters, as in a `model.toml`; a file may name a `preset` instead, and change some of them.
    threshold
        Score of the default decision, in [0, 1].
    semantic
        Probability from which a semantic map makes artifacts, in (0, 1]; a file need not say it.
    real, season
        What to learn from; one of them may be None.
    fit
        How.
    text
        The file itself, to be recorded with the model.
    classes
        What the network is to tell apart, in the order of its outputs; a file that names none means all.
    """

    architecture: Mapping[str, Any]
    threshold: float
    semantic: float
    real: RealConfig | None
    season: SeasonConfig | None
    fit: FitConfig
    text: str
    classes: tuple[Artifact, ...] = tuple(Artifact)


def read_config(path: Path) -> TrainConfig:
    """
    Read a training configuration.

    Raises
    ------
    ConfigError
        If it is missing, is not TOML, or a key is missing, unknown, of the wrong type or out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        msg = f"{path}: cannot read the training configuration: {error.strerror}"
        raise ConfigError(msg) from error
    except ValueError as error:
        msg = f"{path}: expected TOML: {error}"
        raise ConfigError(msg) from error
    required, optional = {"architecture", "threshold", "fit"}, {"real", "season"}
    semantic = tables.pop("semantic", 0.5)
    classes = _classes(tables.pop("classes", [artifact.label for artifact in Artifact]), where=f"{path}")
    if not required <= set(tables) <= required | optional or not optional & set(tables):
        msg = (
            f"{path}: expected the keys {', '.join(sorted(required))} and one or both of "
            f"{', '.join(sorted(optional))}, got {', '.join(sorted(tables))}"
        )
        raise ConfigError(msg)
    for key in sorted(set(tables) - {"threshold"}):
        if not isinstance(tables[key], dict):
            msg = f"{path}: {key}: expected a table, got {tables[key]!r}"
            raise ConfigError(msg)
    _check("threshold", "float", tables["threshold"], where=f"{path}")
    _check("semantic", "float", semantic, where=f"{path}")
    config = TrainConfig(
        architecture=_architecture(tables["architecture"], where=f"{path}: [architecture]"),
        threshold=float(tables["threshold"]),
        semantic=float(semantic),
        real=_table(RealConfig, tables["real"], where=f"{path}: [real]") if "real" in tables else None,
        season=_table(SeasonConfig, tables["season"], where=f"{path}: [season]") if "season" in tables else None,
        fit=_table(FitConfig, tables["fit"], where=f"{path}: [fit]"),
        text=text,
        classes=classes,
    )
    _check_mix(config, where=f"{path}")
    return config


def _classes(labels: object, where: str) -> tuple[Artifact, ...]:
    """The classes of these names."""
    try:
        classes = tuple(Artifact.from_label(str(label)) for label in labels) if isinstance(labels, list) else ()
    except InputError as error:
        msg = f"{where}: classes: {error}"
        raise ConfigError(msg) from error
    if not classes or len(set(classes)) < len(classes):
        msg = f"{where}: classes: expected a list of artifact classes, each once, got {labels!r}"
        raise ConfigError(msg)
    return classes


def _check_mix(config: TrainConfig, where: str) -> None:
    """Refuse shares that ask for synthetic exposures without any, or for more than everything."""
    real, season = config.real, config.season
    if real is not None and season is None and (real.share < 1 or real.injected_share > 0):
        msg = f"{where}: [real]: expected share = 1 and injected_share = 0 without a [season]"
        raise ConfigError(msg)
    if real is not None and real.clean_share + real.injected_share > 1:
        msg = f"{where}: [real]: expected clean_share + injected_share of 1 at most"
        raise ConfigError(msg)
    if season is None and config.fit.validate_every:
        msg = f"{where}: [fit]: validate_every: expected 0 without a [season], got {config.fit.validate_every}"
        raise ConfigError(msg)


def data_root() -> Path:
    """Folder to which data paths are relative."""
    return Path(os.environ.get(DATA_VARIABLE, "../shared/data"))


def _architecture(table: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The table itself, or the preset that it names with what it changes."""
    if "preset" not in table:
        return table
    changes = dict(table)
    preset = changes.pop("preset")
    if preset not in PRESETS:
        msg = f"{where}: preset: expected one of {', '.join(PRESETS)}, got {preset!r}"
        raise ConfigError(msg)
    return {**PRESETS[preset], **changes}


def _table(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from a TOML table with exactly its keys and simple types."""
    expected = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    if set(table) != set(expected):
        msg = f"{where}: expected the keys {', '.join(sorted(expected))}, got {', '.join(sorted(table))}"
        raise ConfigError(msg)
    for key, value in table.items():
        _check(key, expected[key], value, where)
    return kind(**table)


def _check(key: str, kind: str, value: object, where: str) -> None:
    """Refuse a value of another type, or a number out of range."""
    accepted = {"int": (int,), "float": (int, float), "str": (str,)}[kind]
    if not isinstance(value, accepted) or isinstance(value, bool):
        msg = f"{where}: {key}: expected {kind}, got {value!r}"
        raise ConfigError(msg)
    if isinstance(value, int | float) and not _RANGES[key][0] <= value <= _RANGES[key][1]:
        msg = f"{where}: {key}: expected a number in [{_RANGES[key][0]}, {_RANGES[key][1]}], got {value!r}"
        raise ConfigError(msg)
