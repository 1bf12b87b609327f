"""A season on disk: previews, labels as VIA and COCO, and ground-truth tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from PIL import Image
from threadpoolctl import threadpool_limits

from cascade.camera import Camera
from cascade.core.artifact import Artifact, coco_categories, coco_info
from cascade.core.errors import ConfigError
from cascade.core.exposure import HeaderFields, tight_boxes
from cascade.core.processes import results_in_order
from cascade.core.run_lengths import encode_masks
from cascade.core.versions import installed_versions
from cascade.core.via import via_document
from cascade.inputs.headers import HEADER_SCHEMA
from cascade.inputs.preview_files import stored_values
from cascade.simulate.synthetic_exposure import SimulatedExposure, Simulator
from cascade.simulate.synthetic_season import Season
from cascade.storage.atomic import written_aside

BATCH = 32
"""Exposures drawn by one task and written as one Zarr shard; no result depends on it."""

_MARK = "season.json"
_UNFINISHED = "{}"  # in the mark, until the season is complete
_VIA, _COCO, _EXPOSURES, _TRUTH = "via.json", "coco.json", "exposures.parquet", "truth.parquet"
_MANIFEST, _POINTINGS = "manifest.csv", "pointings.csv"

Format = Literal["zarr", "jpeg"]

_EXPOSURE_SCHEMA = pa.schema(
    [
        ("expnum", pa.int64()),
        ("file", pa.string()),
        ("band", pa.string()),
        ("ghosted", pa.bool_()),
        *((f"n_{artifact.label}", pa.int32()) for artifact in Artifact),
        ("n_stars", pa.int32()),
        ("sky_level", pa.float32()),
        ("noise", pa.float32()),
        ("noise_share", pa.float32()),
        ("star_density", pa.float32()),
    ]
)
# One row per rendered ghost, visible or not, and one per visible beam; null where it does not apply.
_TRUTH_SCHEMA = pa.schema(
    [
        ("expnum", pa.int64()),
        ("origin", pa.string()),
        ("star", pa.int32()),
        ("magnitude", pa.float32()),
        ("field_angle_deg", pa.float32()),
        ("azimuth_deg", pa.float32()),
        ("filter_offset_mm", pa.float32()),
        ("snr", pa.float32()),
        ("labelled", pa.bool_()),
        ("class", pa.string()),
        ("area_px", pa.int32()),
    ]
)
# Of seasons with a sky, too.
_EXPOSURE_SKY = [column for column in HEADER_SCHEMA if column.name not in _EXPOSURE_SCHEMA.names]
_TRUTH_SKY = [pa.field("hip", pa.int32())]


@dataclass(slots=True)
class _Pages:
    """What is kept of the exposures until the end: labels and table rows, no pixels."""

    via: dict[str, list[Any]] = field(default_factory=dict)
    coco_images: list[dict[str, Any]] = field(default_factory=list)
    coco_labels: list[dict[str, Any]] = field(default_factory=list)
    exposures: list[dict[str, Any]] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)
    pointings: list[dict[str, Any]] = field(default_factory=list)


def write_season(
    season: Season,
    out: Path,
    *,
    format: Format = "zarr",
    n_workers: int = 1,
    fresh: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """
    Draw a season and write it.

    Parameters
    ----------
    season : Season
    out : Path
        Folder to write, which may hold what a killed call left. It gets ``previews.zarr`` or ``previews/*.jpg``,
        ``via.json``, ``coco.json``, ``exposures.parquet``, ``truth.parquet`` and ``season.json``; with a sky also
        ``manifest.csv`` of the JPEGs, or ``pointings.csv`` and the same columns as arrays in the store.
    format : {"zarr", "jpeg"}
        Of the previews.
    n_workers : int
        Processes; the output does not depend on it.
    fresh : bool
        Delete an earlier season in `out`, and nothing else.
    advance : callable
        Called after each batch with the number of exposures written.

    Raises
    ------
    ConfigError
        If `out` holds anything else, or a season that is not to be deleted, or `season.n_exposures` or `n_workers` is
        not positive.
    """
    if season.n_exposures < 1 or n_workers < 1:
        msg = f"simulate: expected one or more exposures and workers, got {season.n_exposures}, {n_workers}"
        raise ConfigError(msg)
    _claim(out, fresh=fresh)
    write = _zarr_writer(out, season) if format == "zarr" else _jpeg_writer(out)
    pages = _Pages()
    start = 0
    for batch in _batches(season, n_workers):
        write(start, batch)
        for exposure in batch:
            _note(pages, exposure, f"D{exposure.expnum:08d}.jpg")
        start += len(batch)
        advance(len(batch))
    sizes = {file.name: file.stat().st_size for file in out.glob("previews/*.jpg")}
    _write_json(out / _VIA, via_document(pages.via, sizes))
    _write_json(out / _COCO, _coco_document(pages))
    exposure_schema, truth_schema = _EXPOSURE_SCHEMA, _TRUTH_SCHEMA
    if pages.pointings:
        exposure_schema = pa.schema(
            [*exposure_schema, *(f for f in HEADER_SCHEMA if f.name not in exposure_schema.names)]
        )
        truth_schema = truth_schema.append(pa.field("hip", pa.int32()))
    for name, rows, schema in ((_EXPOSURES, pages.exposures, exposure_schema), (_TRUTH, pages.truth, truth_schema)):
        with written_aside(out / name) as aside:
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), aside)
    if pages.pointings and format == "zarr":
        _write_pointings(out, pages.pointings)
    elif pages.pointings:
        write_manifest(pages.pointings, out / _MANIFEST)
    _write_json(out / _MARK, {**season.description, "format": format, "versions": installed_versions()})


def _claim(out: Path, *, fresh: bool) -> None:
    """Create the folder, or clear that of a killed call or, if asked for, of a season; refuse any other."""
    tables = (_VIA, _COCO, _EXPOSURES, _TRUTH, _MANIFEST, _POINTINGS)
    names = {_MARK, *tables, "previews", "previews.zarr", "gallery.png"}
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if (out.exists() and not out.is_dir()) or (found and _MARK not in found) or found - names:
        msg = f"{out}: expected a new folder or that of an earlier season; choose another --out"
        raise ConfigError(msg)
    if found and not fresh and (out / _MARK).read_text(encoding="utf-8").strip() != _UNFINISHED:
        msg = f"{out}: expected a new folder, got an earlier season; choose another --out, or --fresh to delete it"
        raise ConfigError(msg)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).write_text(f"{_UNFINISHED}\n", encoding="utf-8")
    for path in (*(out / "previews").glob("D*.jpg"), *(out / name for name in tables)):
        path.unlink(missing_ok=True)
    if "previews.zarr" in found:
        shutil.rmtree(out / "previews.zarr")


def _batches(season: Season, n_workers: int) -> Iterator[list[SimulatedExposure]]:
    """Exposures in order, one batch at a time, whatever the number of processes."""
    starts = range(0, season.n_exposures, BATCH)
    if n_workers == 1:
        yield from (_draw_batch(season, start) for start in starts)
        return
    yield from results_in_order(n_workers, _draw_batch, ((season, start) for start in starts))


def _draw_batch(season: Season, start: int) -> list[SimulatedExposure]:
    """Draw one batch; a new simulator is cheap."""
    simulator = Simulator(Camera.decam(), ranges=season.ranges)
    # The matrices are small: more threads would only oversubscribe the cores.
    with threadpool_limits(1):
        return [season.draw(n, simulator) for n in range(start, min(start + BATCH, season.n_exposures))]


def _zarr_writer(out: Path, season: Season) -> Callable[[int, list[SimulatedExposure]], None]:
    """Writer of whole shards to `previews.zarr`, with the arrays that `cascade run` reads."""
    import zarr  # here, since importing it takes a quarter of a second

    n = season.n_exposures
    group = zarr.create_group(out / "previews.zarr", overwrite=True)
    images = group.create_array(
        "preview", shape=(n, 400, 400), chunks=(1, 400, 400), shards=(BATCH, 400, 400), dtype="uint8"
    )
    expnums = group.create_array("expnum", shape=(n,), dtype="int64")
    expnums[:] = season.first_expnum + np.arange(n)

    def write(start: int, batch: list[SimulatedExposure]) -> None:
        images[start : start + len(batch)] = np.stack([exposure.image for exposure in batch])

    return write


def _jpeg_writer(out: Path) -> Callable[[int, list[SimulatedExposure]], None]:
    """Writer of one JPEG per exposure, at the quality that its preview was simulated with."""
    folder = out / "previews"
    folder.mkdir(exist_ok=True)

    def write(_start: int, batch: list[SimulatedExposure]) -> None:
        for exposure in batch:
            path = folder / f"D{exposure.expnum:08d}.jpg"
            Image.fromarray(exposure.image).save(path, quality=exposure.conditions.jpeg_quality)

    return write


def _note(pages: _Pages, exposure: SimulatedExposure, name: str) -> None:
    """Collect the labels and rows of one exposure."""
    pages.via[name] = [label.region for label in exposure.labels]
    pages.coco_images.append({"id": exposure.expnum, "file_name": name, "height": 400, "width": 400})
    for label in exposure.labels:
        y0, x0, y1, x1 = (int(side) for side in tight_boxes(label.mask[None])[0])
        (counts,) = encode_masks(label.mask[None])
        pages.coco_labels.append(
            {
                "id": len(pages.coco_labels) + 1,
                "image_id": exposure.expnum,
                "category_id": label.region.artifact.category_id,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": int(label.mask.sum()),
                "segmentation": {"size": list(label.mask.shape), "counts": counts.decode("ascii")},
                "iscrowd": 0,
                "drawn_share": round(label.drawn_share, 3),
            }
        )
    classes = [label.region.artifact for label in exposure.labels]
    conditions = exposure.conditions
    pages.exposures.append(
        {
            "expnum": exposure.expnum,
            "file": name,
            "band": conditions.band,
            "ghosted": bool(classes),
            **{f"n_{artifact.label}": classes.count(artifact) for artifact in Artifact},
            "n_stars": len(exposure.stars),
            "sky_level": conditions.sky_level,
            "noise": conditions.noise,
            "noise_share": conditions.noise_share,
            "star_density": conditions.star_density,
        }
    )
    pages.truth += _truth_rows(exposure)
    if exposure.observation is not None:
        pages.exposures[-1] |= asdict(exposure.observation.header)
        pages.pointings.append(manifest_row(exposure, f"previews/{name}"))


def _truth_rows(exposure: SimulatedExposure) -> list[dict[str, Any]]:
    """Rows of every rendered ghost and of every visible beam."""
    rows = []
    labels = {(label.star, label.origin): label for label in exposure.labels}
    for number, star in enumerate(exposure.stars):
        common = {
            "expnum": exposure.expnum,
            "star": number,
            "magnitude": star.magnitude,
            "field_angle_deg": star.field_angle_deg,
            "azimuth_deg": star.azimuth_deg,
            "filter_offset_mm": star.filter_offset_mm,
            "hip": star.hip,
        }
        for pair, snr in zip(star.pairs, star.snrs, strict=True):
            label = labels.get((number, pair))
            drawn = {} if label is None else {"class": label.region.artifact.label, "area_px": int(label.mask.sum())}
            rows.append({**common, "origin": pair, "snr": snr, "labelled": label is not None, **drawn})
    rows += [
        {
            "expnum": exposure.expnum,
            "origin": label.origin,
            "snr": label.snr,
            "labelled": True,
            "class": label.region.artifact.label,
            "area_px": int(label.mask.sum()),
        }
        for label in exposure.labels
        if label.star is None
    ]
    return rows


def manifest_row(exposure: SimulatedExposure, path: str) -> dict[str, Any]:
    """What a manifest says of an exposure."""
    header = HeaderFields() if exposure.observation is None else exposure.observation.header
    return {"path": path, "expnum": exposure.expnum, **asdict(header)}


def write_manifest(rows: list[dict[str, Any]], file: Path) -> None:
    """Write a manifest in CSV, which `cascade run` and `cascade raytrace` read."""
    schema = pa.schema([pa.field("path", pa.string()), *HEADER_SCHEMA])
    with written_aside(file) as aside:
        pa.csv.write_csv(pa.Table.from_pylist(rows, schema), aside)


def _write_pointings(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write where the exposures of a store looked: arrays in it, and a table of pointings beside it."""
    import zarr

    table = pa.Table.from_pylist(rows, HEADER_SCHEMA)
    group = zarr.open_group(out / "previews.zarr", mode="r+")
    for name in HEADER_SCHEMA.names[1:]:
        group[name] = stored_values(table, name)
    with written_aside(out / _POINTINGS) as aside:
        pa.csv.write_csv(table, aside)


def _coco_document(pages: _Pages) -> dict[str, Any]:
    """COCO instances: bbox (x, y, width, height), `Artifact.category_id`; and who would draw them."""
    return {
        "info": coco_info("Simulated exposures and who would draw their artifacts"),
        "images": pages.coco_images,
        "annotations": pages.coco_labels,
        "categories": coco_categories(),
    }


def _write_json(path: Path, content: Any) -> None:  # noqa: ANN401
    """Write a JSON file, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content) + "\n", encoding="utf-8")
