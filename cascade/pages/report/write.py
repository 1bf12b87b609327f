"""Writing a report: a folder that opens from disk, or a single file."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup
from pyarrow import parquet

from cascade.core.csv_cells import without_formula
from cascade.core.errors import ConfigError
from cascade.core.made import mark_made
from cascade.pages.report.classes import STYLE, classes_css, classes_js
from cascade.pages.report.columns import detail_parts, script_json, season_columns
from cascade.pages.report.page import Assets, Download, report_page, static_text
from cascade.pages.report.predictions import with_predictions
from cascade.pages.report.previews import data_uri, preview_jpeg
from cascade.pages.report.reviewers import summarise_reviews
from cascade.pages.report.snapshot import RunSnapshot, per_night, take_snapshot
from cascade.runs.previews import RunPreviews
from cascade.runs.run import Run
from cascade.runs.stars import with_stars
from cascade.runs.verdicts import Verdict, read_verdicts, reviewed_tables, standing
from cascade.storage.atomic import written_aside
from cascade.veto import Provenance, veto_bytes, veto_rows

N_PREVIEWS = 5000
"""Previews in a folder."""

N_PREVIEWS_SINGLE = 300
"""Previews in a single file: at 10 kB each they are most of it."""

MARK = ".cascade-report"
"""File that identifies a folder as a report, which a new one may replace."""

_SCRIPTS = ("focal.js", "virtual.js", "report.js")
_STYLES = ("theme.css", STYLE, "report.css")
_FOLDER_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' file: data:; script-src 'self' file:; "
    "style-src 'self' file: 'unsafe-inline'"
)
_MAX_DOWNLOADS = 16 * 2**20  # bytes of tables that a single file embeds

Pictures = Iterator[tuple[int, bytes]]


def write_report(
    run: Run,
    out: Path,
    *,
    single: bool = False,
    n_previews: int | None = None,
    predicted: Run | None = None,
    inputs: Sequence[str] = (),
    on_previews: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """
    Write the report of a run, finished or not.

    Parameters
    ----------
    run : Run
    out : Path
        The folder to write, new, empty or an earlier report; with `single`, the HTML file.
    single : bool
        Whether to write one file, with small previews.
    n_previews : int or None
        Largest number of previews; those of the largest artifacts and the most uncertain come first; None:
        `N_PREVIEWS`, or `N_PREVIEWS_SINGLE`.
    predicted : Run or None
        Predictions of the sky for exposures of the run, to show beside what was found.
    inputs : sequence of paths
        Where the inputs of the run are now, if they were moved, see `InputPlaces.of`.
    on_previews : callable
        Called with the number of previews drawn, and their total.

    Returns
    -------
    int
        Number of previews written.

    Raises
    ------
    ConfigError
        If `out` is a folder that holds something else.
    StoreError
        If the run is damaged.
    InputError
        If `inputs` are given and are not there, or `predicted` are no predictions of its exposures.
    """
    if not single:
        _check_replaceable(out)
    snapshot = take_snapshot(run)
    verdicts = read_verdicts(run.storage)
    if predicted is not None:
        snapshot = with_predictions(snapshot, predicted)
    columns = season_columns(snapshot, standing(snapshot.tables, verdicts))
    limit = n_previews if n_previews is not None else N_PREVIEWS_SINGLE if single else N_PREVIEWS
    chosen = _worth_a_preview(snapshot, columns["shown"], limit)
    pictures = _pictures(RunPreviews(run, inputs), chosen, small=single, on_previews=on_previews)
    writer = _write_single if single else _write_folder
    return writer(out, snapshot, columns, pictures, verdicts)


def _write_folder(
    out: Path, snapshot: RunSnapshot, columns: dict[str, Any], pictures: Pictures, verdicts: Sequence[Verdict]
) -> int:
    """Write a folder; its page last."""
    for name in ("index.html", "data.js"):
        (out / name).unlink(missing_ok=True)
    for name in ("previews", "details", "static", "tables"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    (out / MARK).touch()
    for folder in (out, out / "previews"):
        mark_made(folder)
    drawn = []
    for exposure, picture in pictures:
        (out / "previews" / f"{exposure}.jpg").write_bytes(picture)
        drawn.append(exposure)
    for part, details in enumerate(detail_parts(snapshot, columns["shown"])):
        (out / "details" / f"{part}.js").write_text(
            f"cascadeDetail({part},{script_json(details)});\n", encoding="utf-8"
        )
    (out / "data.js").write_text(_data({**columns, "previews": drawn}), encoding="utf-8")
    for name in _SCRIPTS:
        (out / "static" / name).write_text(static_text(name), encoding="utf-8")
    for name in _STYLES:
        (out / "static" / name).write_text(_style(name), encoding="utf-8")
    downloads = []
    for name, data in _downloads(snapshot, verdicts).items():
        (out / "tables" / name).write_bytes(data)
        downloads.append(Download(name, f"tables/{name}", len(data)))
    styles = [f"static/{name}" for name in _STYLES]
    scripts = ["data.js", *(f"static/{name}" for name in _SCRIPTS)]
    assets = Assets(styles, scripts, _FOLDER_POLICY, inline=False)
    page = report_page(snapshot, assets, summarise_reviews(snapshot, verdicts), downloads)
    with written_aside(out / "index.html") as aside:
        aside.write_text(page, encoding="utf-8")
    return len(drawn)


def _write_single(
    out: Path, snapshot: RunSnapshot, columns: dict[str, Any], pictures: Pictures, verdicts: Sequence[Verdict]
) -> int:
    """Write one file, whose policy allows only scripts with the hashes of its own."""
    addresses = {exposure: data_uri(picture, "image/jpeg") for exposure, picture in pictures}
    blocks = [
        _data({**columns, "previews": list(addresses)}),
        f"globalThis.cascadePreviews = {script_json(addresses)};",
        f"globalThis.cascadeDetails = {script_json(list(detail_parts(snapshot, columns['shown'])))};",
        *map(static_text, _SCRIPTS),
    ]
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(f'{block}'.encode()).digest()).decode()}'" for block in blocks
    )
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; script-src {hashes}; "
        "style-src 'unsafe-inline'"
    )
    # Files of this package, and JSON that `script_json` made safe inside a script element.
    styles = [Markup(_style(name)) for name in _STYLES]
    scripts = [Markup(block) for block in blocks]
    n_bytes = 0
    downloads: list[Download] = []
    for name, data in sorted(_downloads(snapshot, verdicts).items(), key=lambda item: len(item[1])):
        n_bytes += len(data)
        if n_bytes <= _MAX_DOWNLOADS:
            downloads.append(Download(name, data_uri(data, "application/octet-stream"), len(data)))
    assets = Assets(styles, scripts, policy, inline=True)
    page = report_page(snapshot, assets, summarise_reviews(snapshot, verdicts), downloads)
    with written_aside(out) as aside:
        aside.write_text(page, encoding="utf-8")
    return len(addresses)


def _check_replaceable(out: Path) -> None:
    """Reject a path that holds anything but an earlier report."""
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out}: expected a new folder or that of an earlier report; choose another --out"
        raise ConfigError(msg)


def _worth_a_preview(snapshot: RunSnapshot, shown: Sequence[int], limit: int) -> list[int]:
    """Positions of the shown exposures to draw, rising: alternately the largest and the most uncertain."""
    exposures = snapshot.tables["exposures"]
    rows = np.asarray(shown, np.intp)
    if len(rows) > limit:
        area = np.nan_to_num(exposures["artifact_area"].to_numpy(zero_copy_only=False).astype(float))[rows]
        by_area, by_doubt = (np.argsort(np.argsort(-values, kind="stable")) for values in (area, snapshot.doubt[rows]))
        rows = np.sort(rows[np.argsort(np.minimum(by_area, by_doubt), kind="stable")[:limit]])
    return [int(exposure) for exposure in exposures["exposure"].to_numpy()[rows]]


def _pictures(
    previews: RunPreviews, exposures: Sequence[int], *, small: bool, on_previews: Callable[[int, int], None]
) -> Pictures:
    """Previews as JPEG, by position; those that cannot be read are left out."""
    for n, exposure in enumerate(exposures if previews.available else (), start=1):
        image = previews.read(exposure)
        if image is not None:
            yield exposure, preview_jpeg(image, small=small)
        on_previews(n, len(exposures))


def _downloads(snapshot: RunSnapshot, verdicts: Sequence[Verdict]) -> dict[str, bytes]:
    """Files to download, by name."""
    files = {"veto.csv": _veto_csv(snapshot, snapshot.tables), "nights.csv": _nights_csv(snapshot)}
    if verdicts:
        files["veto-reviewed.csv"] = _veto_csv(
            snapshot, reviewed_tables(snapshot.tables, verdicts, snapshot.camera).tables
        )
    for name, table in snapshot.tables.items():
        sink = pa.BufferOutputStream()
        parquet.write_table(table, sink, compression="zstd")
        files[f"{name}.parquet"] = sink.getvalue().to_pybytes()
    return files


def _veto_csv(snapshot: RunSnapshot, tables: Mapping[str, pa.Table]) -> bytes:
    """The veto list of the default rule."""
    vetoes = veto_rows(tables["ccds"], tables["exposures"], snapshot.vetoes.rule, snapshot.camera)
    vetoes = with_stars(vetoes, [tables["artifacts"]])
    return veto_bytes(vetoes, "csv", provenance=Provenance.of_run(snapshot.header, str(snapshot.run.path)))


def _nights_csv(snapshot: RunSnapshot) -> bytes:
    """The data of the chart of nights."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("night", "band", "n_exposures", "n_flagged", "n_ghosted"))
    writer.writerows(
        (row.night, without_formula(row.band), row.n_exposures, row.n_flagged, row.n_ghosted)
        for row in per_night(snapshot)
    )
    return stream.getvalue().encode()


def _data(columns: Mapping[str, Any]) -> str:
    """The script that holds the classes of artifact and the season."""
    return f"{classes_js()}globalThis.cascadeSeason = {script_json(columns)};\n"


def _style(name: str) -> str:
    """A style sheet of the page."""
    return classes_css() if name == STYLE else static_text(name)
