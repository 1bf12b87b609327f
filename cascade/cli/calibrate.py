"""`cascade calibrate`: labelled exposures in, probabilities and a threshold with a guaranteed recall out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.run import ModelsDir

_RECALL = 0.99


def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory with the labelled exposures.")],
    truth: Annotated[
        Path, typer.Option(help="Labels: .csv or .parquet with expnum and ghosted, or VIA annotations (.json).")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the calibrated copy of the screen.")],
    recall: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=0.9999, help="Recall to guarantee, default 0.99; may be given several times."),
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Confidence of the guarantee.")] = 0.95,
    prevalence: Annotated[
        float | None,
        typer.Option(min=0.0001, max=0.9999, help="Share of ghosted exposures in the survey; default: of the labels."),
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="Make the first recall's threshold the model's default.")
    ] = False,
    models_dir: ModelsDir = None,
) -> None:
    """
    Calibrate the screen of a run on labelled exposures.

    Its scores become probabilities, and `cascade run --screen OUT --recall 0.99` flags at the threshold that guarantees
    that recall, at the given confidence, on exposures like the labelled ones.

    Example: cascade calibrate RUN --truth labels.csv --recall 0.99 --out my-screen
    """
    from cascade.core.errors import ConfigError
    from cascade.networks.models import calibrated_copy, find_model
    from cascade.runs.run import open_run
    from cascade.training.calibrate import fit_calibration, guaranteed, labelled_scores, read_labels

    opened = open_run(run)
    if opened.config.screen is None:
        msg = f"{run}: expected a run with a screen, got one that segmented every exposure"
        raise ConfigError(msg)
    info = find_model(opened.config.screen.name, models_dir)
    if info.description_sha256 != opened.config.screen.description_sha256:
        msg = f"{run}: was scored by another {info.name} than {info.folder}; give its folder with --models-dir"
        raise ConfigError(msg)
    scores, ghosted, n_missing = labelled_scores(opened.table("exposures"), read_labels(truth))
    fit = fit_calibration(scores, ghosted, prevalence)
    probabilities = fit.calibration(scores[ghosted])
    promises = [guaranteed(probabilities, wanted, confidence, truth.name) for wanted in recall or [_RECALL]]
    calibrated_copy(info, out, fit.calibration, promises, default=default)
    losses = ", ".join(f"{kind} {loss:.4f}" for kind, loss in fit.log_loss.items())
    typer.echo(f"{fit.calibration.kind}, by cross-validated log loss: {losses}")
    without = f", {n_missing} more without a score" if n_missing else ""
    for promise in promises:
        typer.echo(
            f"{out}: threshold {promise.threshold:.4g} keeps recall {promise.recall:g} with confidence {confidence:g} "
            f"({len(scores)} labelled exposures, {int(ghosted.sum())} ghosted{without})"
        )
