"""The data of a report's page: compact columns of all exposures, and details of the flagged ones, in parts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.core.artifact import Artifact
from cascade.core.outlines import outlines
from cascade.core.star_names import star_name
from cascade.pages.report.charts import ccd_boxes
from cascade.pages.report.snapshot import Predictions, RunSnapshot
from cascade.runs.rows import row_mask

PART_SIZE = 64
"""Exposures per file of details, which the page loads on demand."""

_STATUSES = ("clean", "ghosted", "failed")
_SCORE_DIGITS = 4
_AREA_DIGITS = 5
_MAX_JS_NUMBER = 2**53


def season_columns(snapshot: RunSnapshot, verdicts: Mapping[int, str]) -> dict[str, Any]:
    """
    Build the columns that the page loads at the start.

    Parameters
    ----------
    snapshot : RunSnapshot
    verdicts : mapping
        Reviewers' verdicts, by position of the exposure; see `cascade.runs.verdicts.reviewed.standing`.

    Returns
    -------
    dict
        Columns in the order of the exposures table: ``exposure``, ``expnum``, ``folder`` and ``name`` (of the path),
        ``band``, ``night`` (both as indices), ``score``, ``area`` (both in units of the last digit), ``status``,
        ``doubt``, ``n_artifacts``, ``n_vetoed``; what the indices stand for; rows of the exposures that were flagged or
        for which something is predicted, and the classes found in them; the predictions; and the CCDs in half pixels.
    """
    exposures, predictions = snapshot.tables["exposures"], snapshot.predictions
    folders, names = _split_paths(exposures["path"].to_pylist())
    folder_codes, folder_labels = _coded(folders)
    band_codes, band_labels = _coded(snapshot.bands.tolist())
    night_codes, night_labels = _coded(snapshot.nights.tolist())
    flagged = np.flatnonzero(snapshot.flagged | (np.array(exposures["n_artifacts"]) > 0))
    shown = np.union1d(flagged, list(predictions.artifacts) if predictions else []).astype(int)
    classes = np.zeros(len(exposures), int)
    labels = snapshot.tables["artifacts"]["class"].to_pylist()
    bits = np.array([Artifact.from_label(label).bit for label in labels], int)
    np.bitwise_or.at(classes, snapshot.rows_of("artifacts"), bits)
    vetoed = Counter(snapshot.vetoes.table["expnum"].to_pylist())
    return {
        "exposure": exposures["exposure"].to_pylist(),
        # Beyond this, JavaScript would round.
        "expnum": [str(n) if n is not None and n > _MAX_JS_NUMBER else n for n in exposures["expnum"].to_pylist()],
        "folder": folder_codes,
        "folders": folder_labels,
        "name": names,
        "band": band_codes,
        "bands": band_labels,
        "night": night_codes,
        "nights": night_labels,
        "score": _scaled(exposures["screen_score"].to_numpy(zero_copy_only=False), _SCORE_DIGITS),
        "area": _scaled(exposures["artifact_area"].to_numpy(zero_copy_only=False), _AREA_DIGITS),
        "doubt": _scaled(snapshot.doubt, _SCORE_DIGITS),
        "status": [_STATUSES.index(status) for status in exposures["status"].to_pylist()],
        "statuses": _STATUSES,
        "n_artifacts": exposures["n_artifacts"].to_pylist(),
        "n_vetoed": [vetoed[expnum] for expnum in exposures["expnum"].to_pylist()],
        "shown": shown.tolist(),
        "flagged": flagged.tolist(),
        "classes": classes[shown].tolist(),
        "verdict": [verdicts.get(exposure, "") for exposure in exposures["exposure"].to_numpy()[shown].tolist()],
        "predicted": predictions.column(range(len(exposures))) if predictions else None,
        "part_size": PART_SIZE,
        "ccds": ccd_boxes(snapshot.camera),
    }


def detail_parts(snapshot: RunSnapshot, shown: Sequence[int]) -> Iterator[list[Any]]:
    """
    Details of exposures, `PART_SIZE` at a time.

    Parameters
    ----------
    snapshot : RunSnapshot
    shown : sequence of int
        Rows of the exposures table.

    Yields
    ------
    list
        For each exposure ``[artifacts, ccds]``: artifacts as ``[class, score, outlines, star]``, ccds as ``[ccdnum,
        covered share, whether vetoed]``; with predictions ``[…, artifacts, ccdnums, ccdnums]``: what is predicted,
        which CCDs would be vetoed for that alone, and which are for what was found alone.
    """
    artifacts = _grouped(snapshot, "artifacts")
    ccds = _grouped(snapshot, "ccds")
    expnums = snapshot.tables["exposures"]["expnum"].to_pylist()
    pairs = zip(snapshot.vetoes.table["expnum"].to_pylist(), snapshot.vetoes.table["ccdnum"].to_pylist(), strict=True)
    vetoed = set(pairs)
    for start in range(0, len(shown), PART_SIZE):
        yield [
            [
                [_artifact_detail(artifact) for artifact in artifacts.get(row, ())],
                [
                    [ccd["ccdnum"], round(ccd["area_fraction"], 3), int((expnums[row], ccd["ccdnum"]) in vetoed)]
                    for ccd in ccds.get(row, ())
                ],
                *_predicted_detail(snapshot.predictions, row),
            ]
            for row in shown[start : start + PART_SIZE]
        ]


def _artifact_detail(artifact: Mapping[str, Any]) -> list[Any]:
    """An artifact as the page takes it."""
    return [artifact["class"], round(artifact["score"], 3), half_pixel_outlines(artifact), star_words(artifact)]


def _predicted_detail(predictions: Predictions | None, row: int) -> list[Any]:
    """What is predicted for an exposure, as the page takes it."""
    if predictions is None:
        return []
    expected = [_artifact_detail(artifact) for artifact in predictions.artifacts.get(row, ())]
    return [expected, predictions.missed.get(row, []), predictions.unforeseen.get(row, [])]


def star_words(artifact: Mapping[str, Any]) -> str:
    """The star behind a row of the artifacts table, its magnitude and the surfaces; nothing if it is unknown."""
    if artifact["hip"] is None:
        return ""
    magnitude, pair = artifact["star_mag"], artifact["pair"]
    facts = (None if magnitude is None else f"{magnitude:.1f} mag", None if pair is None else f"surfaces {pair}")
    return ", ".join((star_name(artifact["hip"]), *filter(None, facts)))


def half_pixel_outlines(artifact: Mapping[str, Any]) -> list[list[int]]:
    """The outlines of a row of the artifacts table: lists of x, y, x, y, … in half pixels."""
    y0, x0, y1, x1 = (artifact[side] for side in ("y0", "x0", "y1", "x1"))
    drawn = outlines(row_mask(artifact)[y0:y1, x0:x1]) if y1 > y0 and x1 > x0 else []
    return [np.rint(2 * (corners + np.array([y0, x0]))[:, ::-1]).astype(int).ravel().tolist() for corners in drawn]


def script_json(value: object) -> str:
    """JSON that is safe inside a script element: it can neither end the element nor start a comment."""
    words = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return words.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _grouped(snapshot: RunSnapshot, table: str) -> dict[int, list[dict[str, Any]]]:
    """Rows of a table by row of the exposures table."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row, content in zip(snapshot.rows_of(table).tolist(), snapshot.tables[table].to_pylist(), strict=True):
        found.setdefault(row, []).append(content)
    return found


def _split_paths(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Folders and names."""
    split = [(path[: len(path) - len(name)], name) for path in paths for name in (PurePosixPath(path).name or path,)]
    split = [(folder, name) if folder + name == path else ("", path) for (folder, name), path in
             zip(split, paths, strict=True)]  # fmt: skip
    return [folder for folder, _ in split], [name for _, name in split]


def _coded(labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """Indices into the sorted distinct labels, and the labels."""
    distinct = sorted(set(labels))
    index = {label: k for k, label in enumerate(distinct)}
    return [index[label] for label in labels], distinct


def _scaled(values: npt.NDArray[Any], digits: int) -> list[int | None]:
    """Numbers in units of their last digit; None where unknown."""
    scaled = np.rint(np.asarray(values, float) * 10**digits)
    return [None if np.isnan(value) else int(value) for value in scaled]
