"""Artifacts as annotation tools read them: COCO and VIA 2 JSON, written exposure by exposure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from cascade.core.artifact import Artifact, coco_categories, coco_info
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.core.outlines import outlines
from cascade.core.via import Region, via_document
from cascade.export.ghosted import GhostedExposure, Names, Written, ghosted_exposures, judged_exposures
from cascade.runs.inputs import InputPlaces
from cascade.runs.run import Run
from cascade.storage.atomic import written_aside

_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


def write_coco(run: Run, out: Path) -> Written:
    """
    Write ``coco.json``: polygons, bbox (x, y, width, height), `Artifact.category_id`, and scores.

    Parameters
    ----------
    run : Run
    out : Path
        Folder; must exist.
    """
    path = out / "coco.json"
    number = n_exposures = 0
    with written_aside(path) as aside:
        with aside.open("w", encoding="utf-8") as file:
            head = {"info": coco_info(f"Artifacts of {run.path}"), "categories": coco_categories()}
            file.write(f'{json.dumps(head)[:-1]},\n"images": [')
            for n_exposures, (name, exposure) in enumerate(_named(ghosted_exposures(run)), start=1):
                image = {"id": exposure.row["exposure"], "file_name": name}
                height, width = PREVIEW_SHAPE
                _write_item(file, image | {"height": height, "width": width}, first=n_exposures == 1)
            file.write('],\n"annotations": [')
            for _, exposure in _named(ghosted_exposures(run)):
                for annotation in _coco_annotations(exposure):
                    number += 1
                    _write_item(file, {"id": number, **annotation}, first=number == 1)
            file.write("]}\n")
        n_bytes = aside.stat().st_size
    return Written(n_exposures, 1, n_bytes)


def write_via(run: Run, out: Path, *, reviewed: bool = False, places: InputPlaces | None = None) -> Written:
    """
    Write ``via.json``: polygons with the class as ``Type``, which VIA 2 and `cascade.core.via.read_via` read.

    Parameters
    ----------
    run : Run
    out : Path
        Folder; must exist.
    reviewed : bool
        Export the reviewed exposures, as corrected by their reviewers; one without artifacts has no regions. Default:
        those in which the networks found artifacts.
    places : InputPlaces or None
        Where the pictures are, whose sizes are part of their keys; None: where the tables say.
    """
    located = str if places is None else places.located
    exposures: Iterable[GhostedExposure] = ghosted_exposures(run)
    skipped: dict[str, int] = {}
    if reviewed:
        exposures, skipped = judged_exposures(run)
    path = out / "via.json"
    n_exposures = 0
    with written_aside(path) as aside:
        with aside.open("w", encoding="utf-8") as file:
            file.write("{")
            for n_exposures, (name, exposure) in enumerate(_named(exposures), start=1):
                ((key, record),) = via_document(
                    {name: _regions(exposure)}, _size(name, located(exposure.row["path"]))
                ).items()
                file.write(f"{',' if n_exposures > 1 else ''}\n{json.dumps(key)}: {json.dumps(record)}")
            file.write("\n}\n")
        n_bytes = aside.stat().st_size
    return Written(n_exposures, 1, n_bytes, skipped)


def _size(name: str, path: str) -> dict[str, int]:
    """The size of the picture that was the input, if it is a file under this name."""
    file = Path(path)
    return {name: file.stat().st_size} if file.name == name and file.is_file() else {}


def _regions(exposure: GhostedExposure) -> list[Region]:
    """The artifacts of an exposure as polygons, whose pixel centres are at integers, see `Region.mask`."""
    return [
        Region(Artifact.from_label(artifact["class"]), "polygon", tuple(corners[:, 0]), tuple(corners[:, 1]))
        for artifact in exposure.artifacts
        for corners in (outline - 0.5 for outline in outlines(exposure.mask(artifact)))
    ]


def _named(exposures: Iterable[GhostedExposure]) -> Iterator[tuple[str, GhostedExposure]]:
    """Exposures with the name of their image: that of the input, or one made from the exposure number."""
    names = Names()
    for exposure in exposures:
        name = names.unique(_stem(exposure))
        file = PurePosixPath(exposure.row["path"].rpartition("!")[2]).name
        ending = PurePosixPath(file).suffix if file.lower().endswith(_IMAGE_ENDINGS) else ".png"
        yield f"{name}{ending}", exposure


def _stem(exposure: GhostedExposure) -> str:
    """Name of the image without its extension."""
    file = PurePosixPath(exposure.row["path"].rpartition("!")[2]).name
    return PurePosixPath(file).stem if file.lower().endswith(_IMAGE_ENDINGS) else exposure.name


def _coco_annotations(exposure: GhostedExposure) -> Iterator[dict[str, Any]]:
    """The artifacts of an exposure, except those too small for a polygon."""
    for artifact in exposure.artifacts:
        polygons = [
            [round(float(value), 2) for corner in corners for value in (corner[1], corner[0])]
            for corners in outlines(exposure.mask(artifact))
        ]
        if polygons:
            x0, y0 = artifact["x0"], artifact["y0"]
            yield {
                "image_id": exposure.row["exposure"],
                "category_id": Artifact.from_label(artifact["class"]).category_id,
                "bbox": [x0, y0, artifact["x1"] - x0, artifact["y1"] - y0],
                "area": artifact["area_px"],
                "score": round(float(artifact["score"]), 4),
                "segmentation": polygons,
                "iscrowd": 0,
            }


def _write_item(file: Any, item: dict[str, Any], *, first: bool) -> None:  # noqa: ANN401
    """One item of a JSON list."""
    file.write(f"{'' if first else ','}\n{json.dumps(item)}")
