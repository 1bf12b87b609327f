"""Output folder of an evaluation or an agreement study."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade.camera import Camera
from cascade.core.csv_cells import without_formula
from cascade.core.errors import ConfigError, StoreError
from cascade.core.made import mark_made
from cascade.evaluate.agreement import AGREEMENT_FORMAT, Agreement
from cascade.evaluate.bootstrap import f1_score
from cascade.evaluate.ccd import GROUPS
from cascade.evaluate.evaluation import EVALUATION_FORMAT, Evaluation
from cascade.evaluate.pixels import iou
from cascade.evaluate.sections import number
from cascade.evaluate.summary import agreement_sections, evaluation_sections, markdown, page
from cascade.evaluate.truth import Truth
from cascade.runs.run import Run
from cascade.storage.atomic import read_json, write_json, written_aside

Cells = Iterable[object]

_INTERVAL = ("value", "low", "high")
_FILLED_FOLDERS = ("figures", "tables")
_OWN_FOLDERS = {*_FILLED_FOLDERS, "run"}  # exist before metrics.json does, the first two empty


def claim(out: Path) -> None:
    """
    Create the folder, or reuse that of an earlier evaluation or agreement study.

    Raises
    ------
    ConfigError
        If it holds anything else.
    """
    if out.exists() and not out.is_dir():
        msg = f"{out}: expected a folder, got a file; choose another --out"
        raise ConfigError(msg)
    if out.is_dir() and not (_is_untouched(out) or _is_ours(out)):
        msg = f"{out}: expected a new folder or that of an earlier evaluation; choose another --out"
        raise ConfigError(msg)
    for folder in (out / name for name in _FILLED_FOLDERS):
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            if file.suffix in (".png", ".pdf", ".csv"):
                file.unlink()


def _is_untouched(out: Path) -> bool:
    """Whether a folder is empty, or left by an evaluation that stopped before it wrote anything."""
    names = {file.name for file in out.iterdir()}
    filled = [out / name for name in _FILLED_FOLDERS if name in names]
    return names <= _OWN_FOLDERS and all(folder.is_dir() and not any(folder.iterdir()) for folder in filled)


def _is_ours(out: Path) -> bool:
    """Whether a folder holds an evaluation or an agreement study."""
    try:
        return read_json(out / "metrics.json").get("format") in (EVALUATION_FORMAT, AGREEMENT_FORMAT)
    except StoreError:
        return False


def write_evaluation(
    evaluation: Evaluation,
    truth: Truth | None,
    run: Run,
    camera: Camera,
    out: Path,
    *,
    inputs: Sequence[str] = (),
) -> None:
    """
    Write metrics, tables, figures and pages.

    Parameters
    ----------
    evaluation : Evaluation
    truth : Truth or None
        Its problems are listed.
    run : Run
        Names the previews to draw on.
    camera : Camera
    out : Path
        Folder; see `claim`.
    inputs : sequence of paths
        Where the inputs of the run are now, if they were moved, see `InputPlaces.of`.

    Raises
    ------
    ConfigError
        If `out` holds something else.
    InputError
        If `inputs` are given and are not there.
    """
    from cascade.evaluate.figures import draw_figures
    from cascade.evaluate.overlays import draw_overlays

    claim(out)
    metrics = evaluation.metrics
    write_json(out / "metrics.json", metrics)
    for name, (header, rows) in _evaluation_tables(evaluation).items():
        _write_csv(out / "tables" / f"{name}.csv", header, rows)
    _write_left_out(evaluation.left_out, out)
    if truth is not None:
        _write_problems(truth, out)
    mark_made(out / "figures")
    figures = draw_figures(metrics, out / "figures")
    if draw_overlays(evaluation, run, camera, out / "figures" / "overlays", inputs):
        figures.append("overlays")
    title = f"Evaluation of {metrics['systems'][0]}"
    _write_pages(title, evaluation_sections(metrics, figures), out)


def write_agreement(agreement: Agreement, truth: Truth, camera: Camera, out: Path, *, image: Path | None) -> None:
    """
    Write metrics, tables, figures and pages of an agreement study.

    Parameters
    ----------
    agreement : Agreement
    truth : Truth
    camera : Camera
    out : Path
        Folder; see `claim`.
    image : Path or None
        The preview whose votes to draw, or only its name; None selects the image with the least agreement.

    Raises
    ------
    ConfigError
        If `out` holds something else, or the image is not among the annotated ones.
    InputError
        If the file exists but is not a preview.
    """
    from cascade.evaluate.agreement_figures import draw_agreement

    claim(out)
    write_json(out / "metrics.json", agreement.metrics)
    for name, (header, rows) in _agreement_tables(agreement.metrics).items():
        _write_csv(out / "tables" / f"{name}.csv", header, rows)
    _write_left_out(truth.left_out, out)
    _write_problems(truth, out)
    mark_made(out / "figures")
    figures = draw_agreement(agreement, camera, out / "figures", image=image)
    _write_pages("Inter-annotator agreement", agreement_sections(agreement.metrics, figures), out)


def _write_pages(title: str, sections: Sequence[Any], out: Path) -> None:
    """Markdown and HTML."""
    for name, text in (("summary.md", markdown(title, sections)), ("summary.html", page(title, sections))):
        with written_aside(out / name) as aside:
            aside.write_text(text, encoding="utf-8")


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Cells]) -> None:
    """A table; undefined figures are empty."""
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([without_formula(cell) for cell in row] for row in rows)


def _write_left_out(left_out: Mapping[str, Sequence[str]], out: Path) -> None:
    """Images and exposures left out."""
    rows = ((name, reason) for reason, names in left_out.items() for name in names)
    _write_csv(out / "tables" / "left_out.csv", ("name", "reason"), rows)


def _write_problems(truth: Truth, out: Path) -> None:
    """Problems of the annotations."""
    rows = ((file, p.image, p.region, p.kind, p.message) for file, p in truth.problems)
    _write_csv(out / "tables" / "problems.csv", ("file", "image", "region", "kind", "message"), rows)


def _evaluation_tables(evaluation: Evaluation) -> dict[str, tuple[Sequence[str], Iterable[Cells]]]:
    """Header and rows by name."""
    metrics = evaluation.metrics
    tables: dict[str, tuple[Sequence[str], Iterable[Cells]]] = {
        "screening": (("system", "answer", "figure", *_INTERVAL), _screening_rows(metrics))
    }
    if metrics["ccd"] is None:
        return tables
    header = ("geometry", "system", "group", "area_threshold", "metric", *_INTERVAL)
    tables["ccd"] = (header, _ccd_rows(metrics))
    tables["pixels"] = (
        ("system", "group", *_INTERVAL),
        ((name, group, *_cells(one)) for name, found in metrics["pixels"].items() for group, one in found.items()),
    )
    tables["instances"] = (
        ("convention", "system", "class", "figure", "overlap", *_INTERVAL), _instance_rows(metrics["instances"])
    )  # fmt: skip
    tables["differences"] = (("than", "figure", "of", *_INTERVAL), _difference_rows(metrics["differences"]))
    header = ("exposure", "image", "group", "n_hits", "n_true", "n_found", "ccd_f1", "pixel_iou")
    tables["exposures"] = (header, _exposure_rows(evaluation))
    return tables


def _cells(found: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Value, low and high of a figure, with or without an interval."""
    return tuple(found[key] for key in _INTERVAL) if isinstance(found, Mapping) else (found, None, None)


def _ccd_rows(metrics: Mapping[str, Any]) -> Iterator[Cells]:
    """One row per threshold, metric, group, system and geometry."""
    thresholds = metrics["ccd"]["area_thresholds"]
    for name, by_geometry in metrics["ccd"]["systems"].items():
        for geometry, by_group in by_geometry.items():
            for group, found in by_group.items():
                for metric, values in found.items():
                    columns = [values[key] for key in _INTERVAL] if isinstance(values, Mapping) else [values]
                    for row in zip(thresholds, *columns, strict=True):
                        padded = (*row[1:], *(None,) * (3 - len(columns)))
                        yield (geometry, name, group, row[0], metric, *padded)


def _instance_rows(instances: Mapping[str, Any]) -> Iterator[Cells]:
    """One row per figure, class, system and convention."""
    for name, found in instances["coco"].items():
        for kind in ("masks", "boxes"):
            for class_, figures in found[kind].items():
                for figure, one in figures.items():
                    yield (f"coco {kind}", name, class_, figure, None, *_cells(one))
    for name, found in instances["paper"].items():
        for group, figures in found.items():
            if group in ("precision_recall", "mrcnn"):
                continue
            for figure, one in figures.items():
                yield from _by_overlap("paper", name, group, figure, one, instances["overlaps"])
        for group, values in (found["mrcnn"] or {}).items():
            yield from (
                ("mrcnn 0.2", name, group, "ap", overlap, value, None, None)
                for overlap, value in zip(instances["overlaps"], values, strict=True)
            )
    for name, found in instances["matched"].items():
        for group, figures in found.items():
            for figure, one in figures.items():
                yield from _by_overlap("matched", name, group, figure, one, instances["overlaps"])


def _by_overlap(
    convention: str, name: str, group: str, figure: str, found: Mapping[str, Any], overlaps: Sequence[float]
) -> Iterator[Cells]:
    """One row per overlap."""
    for k, overlap in enumerate(overlaps):
        yield (convention, name, group, figure, overlap, *(found[key][k] for key in _INTERVAL))


def _screening_rows(metrics: Mapping[str, Any]) -> Iterator[Cells]:
    """One row per figure, answer and system."""
    for name, by_kind in metrics["screening"]["systems"].items():
        for kind, found in by_kind.items():
            for figure, one in found.items():
                if figure == "confusion":
                    yield from ((name, kind, key, n, None, None) for key, n in one.items())
                elif isinstance(one, Mapping) and set(one) == set(_INTERVAL):
                    yield (name, kind, figure, *_cells(one))


def _difference_rows(differences: Mapping[str, Any]) -> Iterator[Cells]:
    """One row per figure and competitor."""
    for name, found in differences.items():
        for geometry, by_threshold in found["ccd_f1"].items():
            for threshold, by_group in by_threshold.items():
                for group, one in by_group.items():
                    yield (name, f"ccd_f1 {geometry} {threshold}", group, *_cells(one))
        for group, one in (found["pixel_iou"] or {}).items():
            yield (name, "pixel_iou", group, *_cells(one))
        for class_, figures in (found["coco"] or {}).items():
            for figure, one in figures.items():
                yield (name, f"coco {figure}", class_, *_cells(one))


def _exposure_rows(evaluation: Evaluation) -> Iterator[Cells]:
    """One row per group and exposure, by the paper's boxes at threshold 0."""
    if evaluation.hits is None or evaluation.overlap_px is None:
        return
    hits = evaluation.hits[:, 0, 0]
    f1, shared = f1_score(hits), iou(evaluation.overlap_px)
    for n, (exposure, name) in enumerate(zip(evaluation.exposures, evaluation.names, strict=True)):
        for k, group in enumerate(GROUPS):
            counted = hits[n, k, 1:].any()
            yield (exposure, name, group, *hits[n, k], number(f1[n, k]) if counted else None, number(shared[n, k]))


def _agreement_tables(metrics: Mapping[str, Any]) -> dict[str, tuple[Sequence[str], Iterable[Cells]]]:
    """Header and rows by name."""
    people = metrics["annotators"]
    pairs = (
        (what, group, people[a], people[b], found["matrix"][a][b])
        for what, by_group in metrics["pairs"].items()
        for group, found in by_group.items()
        for a in range(len(people))
        for b in range(a + 1, len(people))
    )
    others = [
        (what, group, name, value, None, None)
        for what, by_group in metrics["leave_one_out"].items()
        for group, found in by_group.items()
        for name, value in zip(people, found["each"], strict=True)
    ]
    others += [
        (what, group, "median", *_cells(found["median"]))
        for what, by_group in metrics["leave_one_out"].items()
        for group, found in by_group.items()
    ]
    return {
        "pairs": (("figure", "group", "annotator", "other", "value"), pairs),
        "leave_one_out": (("figure", "group", "annotator", *_INTERVAL), others),
    }
