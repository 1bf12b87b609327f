"""The networks of a run: found, checked, and loaded where they are needed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cascade.core.errors import ConfigError, ModelError
from cascade.networks.model_id import ModelId
from cascade.networks.model_info import ModelInfo, Task, read_model
from cascade.networks.models import find_model, verify_weights
from cascade.networks.screen import NetworkScreener, Screener
from cascade.networks.segment import NetworkSegmenter, Segmenter

logger = logging.getLogger(__name__)

Loader = Callable[[], tuple[Screener | None, Segmenter]]
"""Loads the networks; picklable and hashable, such as a module's function or a frozen dataclass with ``__call__``."""


@dataclass(frozen=True, slots=True)
class NetworkLoader:
    """
    Loads both networks; picklable, so that Dask workers can load them once each.

    Attributes
    ----------
    screen, segment
        Model folders; None for no screen.
    identities
        Expected identities of the given models, in that order.
    engine
        Where they run; see `cascade.networks.engines.load_engine`.
    """

    screen: Path | None
    segment: Path
    identities: tuple[ModelId, ...]
    engine: str

    @classmethod
    def of(cls, screening: ModelInfo | None, segmenting: ModelInfo, engine: str) -> Self:
        """Loader of the models in their current version."""
        return cls(
            None if screening is None else screening.folder.resolve(),
            segmenting.folder.resolve(),
            tuple(info.identity for info in (screening, segmenting) if info is not None),
            engine,
        )

    def __call__(self) -> tuple[Screener | None, Segmenter]:
        """
        Load the networks, verified.

        Raises
        ------
        ModelError
            If a folder now holds another model, or it is damaged.
        """
        infos = [read_model(folder) for folder in (self.screen, self.segment) if folder is not None]
        for info, expected in zip(infos, self.identities, strict=True):
            if info.identity != expected:
                msg = f"{info.folder}: expected {expected}, got {info.identity}: the model was replaced"
                raise ModelError(msg)
        screener = None if self.screen is None else NetworkScreener.load(infos[0], engine=self.engine)
        return screener, NetworkSegmenter.load(infos[-1], engine=self.engine)


def verified_model(name: str, task: Task, models_dir: str | os.PathLike[str] | None) -> ModelInfo:
    """
    Find a model for a task, and verify its weights.

    Raises
    ------
    ModelError
        If there is none of that name, it is for the other task, or its weights are damaged.
    """
    info = find_model(name, None if models_dir is None else Path(models_dir))
    if info.task != task:
        msg = f"model {name!r}: expected one to {task}, got one to {info.task}"
        raise ModelError(msg)
    verify_weights(info)
    return info


def promised_threshold(info: ModelInfo, recall: float) -> float:
    """
    The threshold with which a screen guarantees a recall.

    Raises
    ------
    ConfigError
        If it guarantees none as high.
    """
    enough = [guarantee for guarantee in info.guarantees if guarantee.recall >= recall]
    if not enough:
        promised = ", ".join(f"{guarantee.recall:g}" for guarantee in info.guarantees) or "none"
        msg = f"recall {recall:g}: {info.name} promises {promised}; `cascade calibrate` makes promises from labels"
        raise ConfigError(msg)
    best = max(enough, key=lambda guarantee: guarantee.threshold)
    logger.info(
        "%s: recall %g with confidence %g on exposures like those of %s (%d ghosted): threshold %.4g",
        info.name, best.recall, best.confidence, best.labels, best.n_ghosted, best.threshold,
    )  # fmt: skip
    return best.threshold
