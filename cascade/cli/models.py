"""`cascade models`: what models there are, and whether they are sound."""

from __future__ import annotations

from typing import Annotated

import typer

from cascade.cli.run import ModelsDir

models_app = typer.Typer(no_args_is_help=True, help="List, show and verify models.", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model, or its folder.")]


@models_app.command("list")
def list_(models_dir: ModelsDir = None) -> None:
    """
    List the models that can be found.

    Example: cascade models list
    """
    from cascade.models import list_models, search_path

    found = list_models(models_dir)
    for info in found:
        typer.echo(f"{info.name:<20} {info.task:<8} {info.architecture['name']:<12} {info.folder}")
    typer.echo(f"{len(found)} models in {', '.join(map(str, search_path(models_dir)))}")


@models_app.command()
def show(model: Name, models_dir: ModelsDir = None) -> None:
    """
    Print the card of a model.

    Example: cascade models show segment-v0
    """
    from cascade.errors import ModelError
    from cascade.models import find_model

    info = find_model(model, models_dir)
    card = info.folder / "MODEL_CARD.md"
    try:
        typer.echo(card.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{card}: cannot read the card: {error.strerror}"
        raise ModelError(msg) from error


@models_app.command()
def verify(
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="Default: all of them.")] = None,
    models_dir: ModelsDir = None,
) -> None:
    """
    Check the hash of the weights and the golden outputs.

    Example: cascade models verify segment-v0
    """
    from cascade.models import find_model, list_models, load_network

    infos = [find_model(name, models_dir) for name in models] if models else list_models(models_dir)
    for info in infos:
        load_network(info)
        typer.echo(f"{info.name}: sha256 {info.sha256[:12]}… and golden outputs are as written")
    typer.echo(f"{len(infos)} models verified")
