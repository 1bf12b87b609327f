"""A review session: the exposures of a run, most uncertain first, and the verdicts on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from cascade.core.artifact import Artifact
from cascade.core.errors import CascadeError, InputError
from cascade.pages.report.charts import ccd_boxes
from cascade.pages.report.columns import half_pixel_outlines, star_words
from cascade.pages.report.predictions import with_predictions
from cascade.pages.report.previews import preview_png
from cascade.pages.report.snapshot import RunSnapshot, take_snapshot
from cascade.runs.previews import RunPreviews
from cascade.runs.run import Run
from cascade.runs.verdicts import NewVerdict, Opinion, VerdictLog, log_folder, model_name, opinions, subject

_N_PICTURES = 64  # cached, so that going back and forth does not read them again


class UnknownExposureError(CascadeError):
    """The run has no such exposure, or it failed."""


class StaleSubjectError(CascadeError):
    """The verdict is about other artifacts than the run holds."""


class ReviewSession:
    """
    The data behind the review page.

    Parameters
    ----------
    run : Run
        On a local disk; finished or not. Batches committed later are not seen.
    inputs : sequence of paths
        Where its inputs are now, if they were moved, see `InputPlaces.of`.
    predicted : Run or None
        Predictions of the sky for its exposures, to show beside what was found.

    Raises
    ------
    ConfigError
        If the run is on an object store.
    InputError
        If `inputs` are given and are not there, or `predicted` are no predictions of its exposures.
    StoreError
        If it is damaged.
    """

    def __init__(self, run: Run, inputs: Sequence[str] = (), *, predicted: Run | None = None) -> None:
        self._log = VerdictLog(log_folder(run.storage))
        snapshot = take_snapshot(run)
        self._snapshot: RunSnapshot = snapshot if predicted is None else with_predictions(snapshot, predicted)
        exposures = self._snapshot.tables["exposures"]
        self._row_of = {exposure: row for row, exposure in enumerate(exposures["exposure"].to_pylist())}
        self._statuses = exposures["status"].to_pylist()
        self._artifacts: dict[int, list[dict[str, Any]]] = {}
        for artifact in self._snapshot.tables["artifacts"].to_pylist():
            self._artifacts.setdefault(artifact["exposure"], []).append(artifact)
        self._previews = RunPreviews(run, inputs)
        self.preview = lru_cache(_N_PICTURES)(self._preview)

    def queue(self, reviewer: str) -> dict[str, Any]:
        """
        List the exposures, the most uncertain first.

        Returns
        -------
        dict
            Columns ``exposure``, ``title``, ``band``, ``doubt``, ``n_artifacts``, ``flagged``, ``mine``
            (what the reviewer judged), ``n_others`` (how many others judged); ``predicted``, see `Predictions.column`,
            or None; the CCDs in half pixels, the run's name, and whether its previews can be read.
        """
        snapshot = self._snapshot
        exposures = snapshot.tables["exposures"]
        order = [int(row) for row in np.argsort(-snapshot.doubt, kind="stable") if self._statuses[row] != "failed"]
        positions = exposures["exposure"].to_pylist()
        said = opinions(self._log.verdicts())
        columns: dict[str, list[Any]] = {
            "exposure": positions,
            "title": [self._title(row) for row in range(len(positions))],
            "band": snapshot.bands.tolist(),
            "doubt": [round(float(doubt), 4) for doubt in snapshot.doubt],
            "n_artifacts": exposures["n_artifacts"].to_pylist(),
            "flagged": (snapshot.flagged | (np.array(exposures["n_artifacts"]) > 0)).tolist(),
            "mine": [_judgement(said.get(position, {}).get(reviewer)) for position in positions],
            "n_others": [len(said.get(position, {}).keys() - {reviewer}) for position in positions],
        }
        ordered = {name: [column[row] for row in order] for name, column in columns.items()}
        predictions = snapshot.predictions
        return {
            **ordered,
            "predicted": None if predictions is None else predictions.column(order),
            "ccds": ccd_boxes(snapshot.camera),
            "run": str(snapshot.run.path),
            "previews": self._previews.available,
        }

    def exposure(self, exposure: int, reviewer: str) -> dict[str, Any]:
        """
        Describe an exposure, with the reviewer's opinion of it.

        Raises
        ------
        UnknownExposureError
            If there is none.
        """
        row = self._row(exposure)
        snapshot = self._snapshot.tables["exposures"].slice(row, 1).to_pylist()[0]
        artifacts = self._artifacts.get(exposure, [])
        said = opinions(self._log.verdicts(exposure)).get(exposure, {})
        mine = said.get(reviewer)
        return {
            "exposure": exposure,
            "title": self._title(row),
            "path": snapshot["path"],
            "band": str(self._snapshot.bands[row]),
            "night": str(self._snapshot.nights[row]),
            "score": snapshot["screen_score"],
            "doubt": float(self._snapshot.doubt[row]),
            "subject": subject(snapshot, artifacts),
            "artifacts": [{"name": model_name(found["artifact"]), **_artifact_json(found)} for found in artifacts],
            "predicted": self._predicted(row),
            "mine": None if mine is None else _opinion_json(mine),
            # Blind review: the opinions of others are shown only after one's own.
            "others": []
            if mine is None
            else [[name, said[name].judgement] for name in sorted(said.keys() - {reviewer})],
        }

    def say(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """
        Store a verdict.

        Parameters
        ----------
        content : mapping
            As parsed from JSON: the fields of `NewVerdict`, ``class`` by its name.

        Returns
        -------
        dict
            The exposure as `exposure` gives it.

        Raises
        ------
        InputError
            If it is not a valid verdict, or about an artifact that does not exist.
        UnknownExposureError
            If there is no such exposure.
        StaleSubjectError
            If the run holds other artifacts than the reviewer saw.
        """
        verdict = _parsed(content)
        shown = self.exposure(verdict.exposure, verdict.reviewer)
        if verdict.subject != shown["subject"]:
            msg = f"exposure {verdict.exposure}: the run holds other artifacts than were shown; load the page again"
            raise StaleSubjectError(msg)
        if verdict.artifact is not None:
            drawn = [] if shown["mine"] is None else shown["mine"]["drawn"]
            names = [artifact["name"] for artifact in (*shown["artifacts"], *drawn)]
            if verdict.artifact not in names:
                msg = f"exposure {verdict.exposure}: expected one of the artifacts {', '.join(names)}, got another"
                raise InputError(msg)
        self._log.append(verdict)
        return self.exposure(verdict.exposure, verdict.reviewer)

    def undo(self, content: Mapping[str, Any]) -> dict[str, Any] | None:
        """Undo the last verdict of a reviewer; returns its exposure, or None if there is nothing to undo."""
        reviewer, key = _text(content, "reviewer"), _text(content, "key")
        undone = self._log.undo(reviewer, key)
        if undone is None or undone.exposure not in self._row_of:
            return None
        return self.exposure(undone.exposure, reviewer)

    def n_judged(self) -> int:
        """The number of exposures with verdicts."""
        return len(opinions(self._log.verdicts()))

    def _preview(self, exposure: int) -> bytes | None:
        """The preview as PNG, or None if it cannot be read; UnknownExposureError if there is no such exposure."""
        self._row(exposure)
        image = self._previews.read(exposure)
        return None if image is None else preview_png(image)

    def _row(self, exposure: int) -> int:
        """The row of an exposure that can be reviewed."""
        row = self._row_of.get(exposure)
        if row is None or self._statuses[row] == "failed":
            msg = f"exposure {exposure}: not in the run, or failed"
            raise UnknownExposureError(msg)
        return row

    def _predicted(self, row: int) -> dict[str, Any] | None:
        """What is predicted for an exposure, and the CCDs on which that differs from what was found."""
        predictions = self._snapshot.predictions
        if predictions is None:
            return None
        return {
            "artifacts": [_artifact_json(artifact) for artifact in predictions.artifacts.get(row, ())],
            "missed": predictions.missed.get(row, []),
            "unforeseen": predictions.unforeseen.get(row, []),
        }

    def _title(self, row: int) -> str:
        """The title of an exposure: its number, or the end of its path."""
        exposures = self._snapshot.tables["exposures"]
        expnum = exposures["expnum"][row].as_py()
        return exposures["path"][row].as_py().rsplit("/", 1)[-1] if expnum is None else str(expnum)


def _artifact_json(artifact: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the artifacts table as JSON for the page."""
    return {
        "class": artifact["class"],
        "score": artifact["score"],
        "outlines": half_pixel_outlines(artifact),
        "star": star_words(artifact),
    }


def _judgement(opinion: Opinion | None) -> str:
    """The judgement, or nothing."""
    return "" if opinion is None else opinion.judgement


def _opinion_json(opinion: Opinion) -> dict[str, Any]:
    """An opinion as JSON for the page."""
    return {
        "judgement": opinion.judgement,
        "rejected": opinion.rejected,
        "deleted": sorted(opinion.deleted),
        "classes": {name: class_.label for name, class_ in opinion.classes.items()},
        "drawn": [
            {
                "name": drawn.name,
                "class": drawn.class_.label,
                "outlines": [[round(2 * value) for corner in drawn.polygon for value in corner]],
            }
            for drawn in opinion.drawn
        ],
    }


def _parsed(content: Mapping[str, Any]) -> NewVerdict:
    """A verdict from JSON; InputError if it is invalid."""
    exposure, polygon, class_ = content.get("exposure"), content.get("polygon"), content.get("class")
    if not isinstance(exposure, int) or isinstance(exposure, bool):
        msg = "verdict: expected the position of an exposure, an integer"
        raise InputError(msg)
    try:
        corners = None if polygon is None else tuple((float(x), float(y)) for x, y in polygon)
    except (TypeError, ValueError, OverflowError) as error:
        msg = "polygon: expected pairs of numbers"
        raise InputError(msg) from error
    return NewVerdict(
        key=_text(content, "key"),
        reviewer=_text(content, "reviewer"),
        exposure=exposure,
        subject=_text(content, "subject"),
        action=_text(content, "action"),
        artifact=None if content.get("artifact") is None else _text(content, "artifact"),
        class_=None if class_ is None else Artifact.from_label(_text(content, "class")),
        polygon=corners,
    )


def _text(content: Mapping[str, Any], name: str) -> str:
    """A string of a JSON object."""
    value = content.get(name)
    if not isinstance(value, str):
        msg = f"{name}: expected a string"
        raise InputError(msg)
    return value
