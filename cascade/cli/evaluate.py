"""`cascade evaluate`, `agreement` and `split`: metrics of a run, inter-annotator agreement, and data splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.run import Quiet, show_run
from cascade.cli.status import InputsOption
from cascade.core.errors import printable

if TYPE_CHECKING:
    from cascade.evaluate.truth import Truth
    from cascade.runs.run import Run

_N_SHOWN = 5  # problems of annotations on the terminal

_Files = Annotated[list[Path], typer.Argument(metavar="VIA.json...", help="VIA files, or folders of them.")]


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run directory; or exposures, which are processed first.")],
    truth: Annotated[
        list[Path], typer.Option(help="VIA files of one or several annotators, or a folder of them; or y_*.npy labels.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    more_truth: Annotated[
        list[Path] | None, typer.Argument(metavar="[VIA.json...]", help="More files after --truth.")
    ] = None,
    veto: Annotated[
        list[str] | None,
        typer.Option(help="Competitor: a veto list of any format, or 'NAME=ghost-scatter-y*.txt' for several as one."),
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="Competitor: another run, or the VIA file of another annotator.")
    ] = None,
    consensus: Annotated[str, typer.Option(help="majority, or the name of the reference annotator.")] = "majority",
    human: Annotated[
        Path | None, typer.Option(help="Human line from the output of `cascade agreement`; default: from --truth.")
    ] = None,
    prevalence: Annotated[float, typer.Option(help="Share of ghosted exposures in the survey.")] = 0.04,
    resamples: Annotated[int, typer.Option(min=1, max=10_000, help="Of the bootstrap over exposures.")] = 1000,
    inputs: InputsOption = None,
    quiet: Quiet = False,
) -> None:
    """
    Compare a run with annotations: CCDs, pixels, artifacts, exposures; numbers, figures and a summary.

    Example: cascade evaluate RUN --truth annotations_test.json --veto raytrace.txt --out evaluation
    """
    from cascade.camera import Camera
    from cascade.evaluate.agreement import read_human_line
    from cascade.evaluate.evaluation import Settings, evaluate_labels, evaluate_run
    from cascade.evaluate.learned import learned_words
    from cascade.evaluate.truth import read_truth
    from cascade.evaluate.write import claim, write_evaluation

    files = [*truth, *(more_truth or [])]
    labels = [file for file in files if file.suffix.lower() == ".npy"]
    if labels and (len(files) > 1 or veto or human):
        msg = "labels of exposures (.npy): expected neither --veto nor --human"
        raise typer.BadParameter(msg, param_hint="--truth")
    settings = Settings(consensus, prevalence, resamples)
    claim(out)
    opened = _opened(run, out, quiet=quiet)
    learned = _learned([opened, *filter(None, map(_run_of, against or []))])
    camera = Camera.decam()
    if labels:
        drawn = None
        result = evaluate_labels(opened, labels[0], settings, against=against or (), learned=learned)
    else:
        drawn = read_truth(files)
        line = None if human is None else read_human_line(human)
        result = evaluate_run(
            opened, drawn, camera, settings, against=against or (), veto=veto or (), human=line, learned=learned
        )
    write_evaluation(result, drawn, opened, camera, out, inputs=inputs or ())
    _warn(drawn)
    if words := learned_words(result.metrics):
        typer.echo(f"warning: {words}", err=True)
    n_left_out = sum(map(len, result.left_out.values()))
    remark = f"; {n_left_out} images or exposures left out, see tables/left_out.csv" if n_left_out else ""
    typer.echo(f"{out}: {_headline(result.metrics)}{remark}; summary.html, summary.md, metrics.json, tables/, figures/")


def agreement(
    files: _Files,
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    image: Annotated[
        Path | None,
        typer.Option(help="Image whose votes to plot, a file or only its name; default: that of least agreement."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, max=10_000, help="Of the bootstrap over images.")] = 1000,
) -> None:
    """
    Compare annotators with each other, in pairs and each with the majority of the others.

    Example: cascade agreement annotator-*.json --image D00158776.jpg --out agreement
    """
    from cascade.camera import Camera
    from cascade.evaluate.agreement import study_agreement
    from cascade.evaluate.truth import read_truth
    from cascade.evaluate.write import claim, write_agreement

    claim(out)
    drawn = read_truth(files)
    camera = Camera.decam()
    study = study_agreement(drawn, camera, n_resamples=resamples)
    write_agreement(study, drawn, camera, out, image=image)
    medians = study.metrics["leave_one_out"]["ccd_f1"]
    words = ", ".join(f"{group} {found['median']['value']:.3f}" for group, found in medians.items())
    _warn(drawn)
    typer.echo(f"{out}: {len(study.names)} images, {len(study.labellings)} annotators; median CCD F1 {words}")


def split(
    file: Annotated[Path, typer.Argument(metavar="VIA.json", help="Annotations of all images.")],
    out: Annotated[Path, typer.Option(help="Folder to write annotations_train.json, _val.json and _test.json into.")],
    stratified: Annotated[
        bool, typer.Option("--stratified", help="Stratify by the set of classes drawn on an image.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The paper's is 42.")] = 42,
) -> None:
    """
    Split annotated images into training, validation and test sets, 70 : 15 : 15, as the paper did.

    Example: cascade split annotations_full.json --out split
    """
    from cascade.evaluate.split import split_annotations, write_split

    parts = split_annotations(file, stratified=stratified, seed=seed)
    write_split(parts, out)
    typer.echo(f"{out}: " + ", ".join(f"{len(part.records)} {part.name}" for part in parts))


def _opened(name: str, out: Path, *, quiet: bool) -> Run:
    """A run directory; exposures are processed into one first."""
    from cascade.evaluate.systems import complete_run
    from cascade.runs.run import find_run

    if find_run(name) is not None:
        return complete_run(name)
    return show_run([name], out / "run", quiet=quiet)


def _run_of(name: str) -> Run | None:
    """The run that a competitor is, None if it is another thing."""
    from cascade.runs.run import find_run

    return None if Path(name).is_file() else find_run(name)


def _learned(runs: Iterable[Run]) -> dict[str, frozenset[int] | None]:
    """What the models of runs learned from, as their descriptions say; None where these are not at hand."""
    from cascade.core.errors import ModelError
    from cascade.networks.models import find_model
    from cascade.runs.config import PREDICTOR

    learned: dict[str, frozenset[int] | None] = {}
    for used in {model for run in runs for model in (run.config.screen, run.config.segment) if model is not None}:
        if used.name == PREDICTOR:  # which computes, and learns nothing
            continue
        try:
            info = find_model(used.name)
            learned[used.name] = info.learned_expnums if info.sha256 == used.sha256 else None
        except ModelError:
            learned[used.name] = None
    return dict(sorted(learned.items()))


def _warn(truth: Truth | None) -> None:
    """Warn of problems in annotations: the first few, and their number."""
    problems = [] if truth is None else [f"{file}: {problem}" for file, problem in truth.problems]
    for line in problems[:_N_SHOWN]:
        typer.echo(f"warning: {printable(line)}", err=True)
    if len(problems) > _N_SHOWN:
        typer.echo(f"warning: {len(problems)} problems of the annotations in all, see tables/problems.csv", err=True)


def _headline(found: Mapping[str, Any]) -> str:
    """The headline metric."""
    n = found["exposures"]["n"]
    if found["ccd"] is None:
        answer = list(found["screening"]["systems"][found["systems"][0]].items())[-1]
        return f"{n} exposures, {answer[0]} accuracy {answer[1]['accuracy']['value']:.3f}"
    f1 = found["ccd"]["systems"][found["systems"][0]]["paper"]["All"]["f1"]
    value, low, high = (f1[key][0] for key in ("value", "low", "high"))
    return f"{n} exposures, CCD F1 {value:.3f} [{low:.3f}, {high:.3f}]"
