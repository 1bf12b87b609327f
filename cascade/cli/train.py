"""`cascade train`: a configuration in, a model folder out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.progress import progress
from cascade.cli.run import Quiet


class TaskName(StrEnum):
    """What to train."""

    SCREEN = "screen"
    SEGMENT = "segment"


def train(
    task: Annotated[TaskName, typer.Argument(help="The network to train.")],
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="Training configuration.")],
    out: Annotated[Path, typer.Option(help="Model folder to write; an interrupted training in it is resumed.")],
    season: Annotated[
        Path | None, typer.Option(help="Synthetic exposures that the configuration needs, from `cascade simulate`.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Start from the weights of a model (name or folder).")
    ] = None,
    cross_validate: Annotated[
        bool,
        typer.Option(
            "--cross-validate", help="Five-fold cross-validation: train on four fifths and score the rest, five times."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """
    Train a network; real data are read from $CASCADE_DATA.

    Example: cascade train segment models/segment-lite-v1/train.toml --season seasons/train --start runs/joint --out my
    """
    import json

    from cascade.core.keras_startup import import_keras

    import_keras()
    from cascade.camera import Camera
    from cascade.core.errors import ConfigError
    from cascade.networks.models import find_model
    from cascade.training.annotated import load_annotated
    from cascade.training.config import data_root, read_config
    from cascade.training.crossval import N_FOLDS
    from cascade.training.crossval import cross_validate as cross_validated
    from cascade.training.fit import train as fit
    from cascade.training.sources import SyntheticSeason, TrainingData

    settings = read_config(config)
    annotated, synthetic = None, None
    if settings.real is not None:
        root = data_root()
        annotated = load_annotated(root / settings.real.images, root / settings.real.annotations)
    if settings.season is not None:
        if season is None:
            msg = f"{config}: expected synthetic exposures; give their folder, from `cascade simulate`, with --season"
            raise ConfigError(msg)
        synthetic = SyntheticSeason(season, settings.season)
    data = TrainingData(annotated, synthetic)
    begins = None if start is None else find_model(start)
    n_steps = settings.fit.steps * (N_FOLDS if cross_validate else 1)
    with progress("steps", done=0, total=n_steps, quiet=quiet) as advance:
        if cross_validate:
            figures = cross_validated(task.value, settings, data, Camera.decam(), out, start=begins, on_steps=advance)
        else:
            info = fit(task.value, settings, data, Camera.decam(), out, start=begins, on_steps=advance)
    if cross_validate:
        typer.echo(json.dumps(figures, indent=1))
        typer.echo(f"{out}: {len(annotated or ())} exposures, each scored by a network that never saw its night")
        return
    n_learned = len(annotated or ()) + len(synthetic or ())
    typer.echo(f"{out}: model {info.name}, {n_learned} exposures, {info.training['minutes']} minutes")
