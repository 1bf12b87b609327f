"""Training configurations, as TOML files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cascade.core.artifact import Artifact, read_classes
from cascade.core.errors import ConfigError
from cascade.core.plain_files import read_plain
from cascade.core.records import Range, parse_toml, read_record, shown
from cascade.networks.nets.presets import PRESETS

Share = Annotated[float, Range(0, 1)]
Positive = Annotated[int, Range(1, math.inf)]
NonNegative = Annotated[float, Range(0, math.inf)]
Level = Annotated[float, Range(1e-3, 1)]  # of a map of probabilities
Seed = Annotated[int, Range(0, 2**32 - 1)]  # what numpy.random.seed takes

DATA_VARIABLE = "CASCADE_DATA"
"""Environment variable with the root of data paths; default ``../shared/data``."""


@dataclass(frozen=True, slots=True)
class RealConfig:
    """
    Real training exposures.

    Attributes
    ----------
    images, annotations
        Exposures and the folder of VIA files, relative to ``$CASCADE_DATA``.
    share
        Fraction of training images from real exposures, in [0, 1]; the rest are synthetic.
    clean_share
        Fraction of those that are clean mosaics of unmarked CCDs, in [0, 1].
    injected_share
        Fraction of those that are clean mosaics with synthetic artifacts, in [0, 1].
    warp_share
        Fraction of the remaining ones that are rotated and pasted onto another background, in [0, 1].
    """

    images: str
    annotations: str
    share: Share
    clean_share: Share
    injected_share: Share
    warp_share: Share


@dataclass(frozen=True, slots=True)
class SeasonConfig:
    """
    Synthetic training exposures; see `cascade simulate`.

    Attributes
    ----------
    n_exposures, ghosted_share, seed
        Arguments of the simulation.
    """

    n_exposures: Positive
    ghosted_share: Share
    seed: Seed

    @property
    def drawn(self) -> dict[str, float]:
        """The same keys as in `season.json`."""
        return {"n_exposures": self.n_exposures, "ghosted_share": self.ghosted_share, "seed": self.seed}


@dataclass(frozen=True, slots=True)
class FitConfig:
    """
    Optimisation.

    Attributes
    ----------
    steps, batch
        Gradient steps, rounded up to a multiple of 50 (a checkpoint), and images per step.
    learning_rate, weight_decay
        Peak learning rate and weight decay of AdamW; linear warm-up over 5 % of the steps, then cosine decay to 0.
    average
        Momentum of the exponential moving average of the weights, in [0, 1); 0: no averaging. The average is validated
        and shipped.
    validate_every
        Steps between validations on held-out exposures of the synthetic season; the best weights are kept. 0: never.
    patience
        Validations without improvement before early stopping.
    precision
        Keras dtype policy, ``"float32"`` or ``"mixed_bfloat16"``.
    seed
        Random seed.
    """

    steps: Positive
    batch: Positive
    learning_rate: NonNegative
    weight_decay: NonNegative
    average: Annotated[float, Range(0, 0.99999)]
    validate_every: Annotated[int, Range(0, math.inf)]
    patience: Positive
    precision: str
    seed: Seed


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """
    A complete training configuration.

    Attributes
    ----------
    architecture
        Network name and parameters, as in a `model.toml`; a file may name a `preset` instead, and override some.
    threshold
        Default score threshold, in [0, 1].
    semantic
        Minimum probability of the semantic map, in (0, 1]; optional in a file.
    real, season
        Training data; one of them may be None.
    fit
        Optimisation.
    text
        The file itself, recorded with the checkpoint.
    classes
        Classes of the network, in the order of its outputs; a file that names none means all.
    """

    architecture: Mapping[str, Any]
    threshold: float
    semantic: float
    real: RealConfig | None
    season: SeasonConfig | None
    fit: FitConfig
    text: str
    classes: tuple[Artifact, ...] = tuple(Artifact)


@dataclass(frozen=True, slots=True)
class _Tables:
    """A file as it stands."""

    architecture: Mapping[str, Any]
    threshold: Share
    fit: FitConfig
    semantic: Level = 0.5
    real: RealConfig | None = None
    season: SeasonConfig | None = None
    classes: tuple[str, ...] = tuple(artifact.label for artifact in Artifact)


def read_config(path: Path) -> TrainConfig:
    """
    Read a training configuration.

    Raises
    ------
    ConfigError
        If it is missing, is not TOML, or a key is missing, unknown, of the wrong type or out of range.
    """
    try:
        data = read_plain(path)
    except OSError as error:
        msg = f"{path}: cannot read the training configuration: {error.strerror}"
        raise ConfigError(msg) from error
    where = str(path)
    tables = read_record(_Tables, parse_toml(data, where=where, error=ConfigError), where=where, error=ConfigError)
    _check_mix(tables, where)
    return TrainConfig(
        architecture=_architecture(tables.architecture, where),
        threshold=tables.threshold,
        semantic=tables.semantic,
        real=tables.real,
        season=tables.season,
        fit=tables.fit,
        text=data.decode("utf-8").replace("\r\n", "\n"),  # checkpoints know the file by it, on whatever system
        classes=read_classes(tables.classes, f"{where}: key classes", ConfigError),
    )


def _check_mix(tables: _Tables, where: str) -> None:
    """Refuse data without exposures, shares that ask for synthetic ones without any, or for more than everything."""
    real, season = tables.real, tables.season
    if real is None and season is None:
        msg = f"{where}: expected one or both of the tables real and season, got neither"
        raise ConfigError(msg)
    if real is not None and season is None and (real.share < 1 or real.injected_share > 0):
        msg = f"{where}: key real: expected share = 1 and injected_share = 0 without a [season]"
        raise ConfigError(msg)
    if real is not None and real.clean_share + real.injected_share > 1:
        msg = f"{where}: key real: expected clean_share + injected_share of 1 at most"
        raise ConfigError(msg)
    if season is None and tables.fit.validate_every:
        msg = f"{where}: key fit.validate_every: expected 0 without a [season], got {tables.fit.validate_every}"
        raise ConfigError(msg)


def data_root() -> Path:
    """Root of data paths."""
    return Path(os.environ.get(DATA_VARIABLE, "../shared/data"))


def _architecture(table: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The table itself, or its preset with overrides."""
    if "preset" not in table:
        return table
    changes = dict(table)
    preset = changes.pop("preset")
    if not isinstance(preset, str) or preset not in PRESETS:
        msg = f"{where}: key architecture.preset: expected one of {', '.join(PRESETS)}, got {shown(preset)}"
        raise ConfigError(msg)
    return {**PRESETS[preset], **changes}
