"""Run directories to damage: what every reader of one gives, what `verify` notices, and what mending brings back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cascade.core.artifact import Artifact
from cascade.core.errors import CascadeError, printable
from cascade.pipeline.season import run_stub
from cascade.runs.lease import find_holder
from cascade.runs.run import open_run
from cascade.runs.tables import SCHEMAS
from cascade.runs.verdicts.opinions import subject
from cascade.runs.verdicts.reviewed import reviewed_run
from cascade.runs.verdicts.verdict_log import NewVerdict, VerdictLog, read_verdicts
from cascade.runs.verify import forget_damages, verify_run

N = 6
_LONGEST = 2000  # characters of a message


class WrongAnswerError(Exception):
    """A reader gave what nothing may be."""


def refusable(read: Callable[[], str]) -> str:
    """What is read, or ``refused`` and why; the message must be one line."""
    try:
        return read()
    except CascadeError as error:
        return refusal(error)


def refusal(error: CascadeError) -> str:
    """An error as a part of an answer."""
    text = str(error)
    if printable(text) != text or not text or len(text) > _LONGEST:
        message = f"message {text[:200]!r}"
        raise WrongAnswerError(message) from error
    if "Unable to allocate" in text or "MemoryError" in text:
        message = f"memory: {text[:200]!r}"
        raise WrongAnswerError(message) from error
    return f"refused: {text}"


def make_run(folder: Path) -> None:
    """A run of two batches in which an exposure failed, then another one was added."""
    inputs = folder / "inputs"
    inputs.mkdir()
    for k in range(N):
        image = np.random.default_rng(k).integers(40, 80, (400, 400), np.uint8)
        image[0, 0] = 150 + k if k % 2 else 20
        Image.fromarray(image).save(inputs / f"D{700001 + k:08d}.png")
    (inputs / "D00700003.png").write_bytes(b"GIF89a")
    late = inputs / f"D{700000 + N:08d}.png"
    held = late.read_bytes()
    late.unlink()
    run_stub(inputs, folder / "RUN", batch_size=3)
    late.write_bytes(held)
    run_stub(inputs, folder / "RUN", batch_size=3)


def make_judged_run(folder: Path) -> None:
    """The same, with verdicts of two people."""
    make_run(folder)
    run = open_run(folder / "RUN")
    log = VerdictLog(folder / "RUN")
    artifacts = run.table("artifacts").to_pylist()
    for row in run.table("exposures").to_pylist():
        if row["status"] == "ghosted":
            own = [a for a in artifacts if a["exposure"] == row["exposure"]]
            known, where = subject(row, own), row["exposure"]
            log.append(NewVerdict(f"a{where}", "Ada", where, known, "accept"))
            corners = ((10.0, 10.0), (90.0, 10.0), (90.0, 80.5))
            log.append(NewVerdict(f"b{where}", "Bo", where, known, "draw", None, Artifact.BRIGHT, corners))
    log.undo("Bo", "c1")


def run_answer(folder: Path) -> Mapping[str, str]:
    """What every reader of the run gives, before and after it was mended."""
    path = folder / "RUN"
    try:
        answer = _read(folder)
    except CascadeError as error:  # run.json; it may be mended nevertheless
        answer = {"configuration": refusal(error)}

    def mended() -> str:
        run = open_run(path, check=False)
        forget_damages(run, verify_run(run))
        run_stub(folder / "inputs", path, batch_size=3)
        left = [damage.problem for damage in verify_run(open_run(path))]
        if left:
            message = f"damaged after it was mended: {left[0]}"
            raise WrongAnswerError(message)
        return "mended"

    answer["mended"] = refusable(mended)
    if answer["mended"] == "mended":
        after = _read(folder)
        names = ("planes", *SCHEMAS)
        for name in names:
            answer[f"{name}, mended"] = after[name]
            if after[name].startswith("refused"):
                message = f"{name} of a mended run: {after[name]}"
                raise WrongAnswerError(message)
    return answer


def _read(folder: Path) -> dict[str, str]:
    """What the readers give."""
    path = folder / "RUN"
    run = open_run(path)
    answer = {"configuration": repr(run.config)}
    for name in SCHEMAS:
        answer[name] = refusable(lambda name=name: _digest(run.table(name).to_pylist(), folder))
    answer["planes"] = refusable(lambda: hashlib.sha256(np.asarray(run.masks[:]).tobytes()).hexdigest())
    summary = run.summary()
    pending = summary.n_done < summary.n_batches  # what a resume does again
    answer["summary"] = "refused: batches are pending" if pending else repr(summary.counts.n_exposures)
    answer["lease"] = refusable(lambda: repr(find_holder(run.storage)))
    answer["inputs"] = refusable(lambda: _digest(run.listing().to_pylist(), folder))
    noticed = refusable(lambda: repr([damage.problem for damage in verify_run(run)]))
    answer["verify"] = "whole" if noticed == "[]" else f"refused: {noticed}"
    return answer


def _digest(rows: list[Any], folder: Path) -> str:
    text = repr(rows).replace(str(folder), "")
    return hashlib.sha256(text.encode()).hexdigest()


def verdicts_answer(folder: Path) -> Mapping[str, str]:
    """What is read from the log of verdicts."""
    run = open_run(folder / "RUN")
    verdicts = refusable(lambda: repr(read_verdicts(run.storage)))

    def tables() -> str:
        reviewed = reviewed_run(run)
        return _digest([reviewed.tables[name].to_pylist() for name in SCHEMAS], folder)

    def more() -> str:
        VerdictLog(folder / "RUN").append(NewVerdict("late", "Cy", 0, "s", "accept"))
        return "appended"

    return {"verdicts": verdicts, "reviewed": refusable(tables), "append": refusable(more)}


EXACT = (
    "configuration", *SCHEMAS, "planes", "summary", "inputs", *(f"{name}, mended" for name in (*SCHEMAS, "planes")),
)  # fmt: skip

RUN_TARGETS: Mapping[str, Mapping[str, Any]] = {
    "run": {
        "make": make_run, "answer": run_answer, "exact": EXACT, "share": 4.0,
        "victims": ("RUN/**/*",),
    },
    "run, run.json": {"make": make_run, "answer": run_answer, "exact": EXACT, "victims": ("RUN/run.json",)},
    "run, ledger": {"make": make_run, "answer": run_answer, "exact": EXACT, "victims": ("RUN/ledger/*",)},
    "run, masks": {"make": make_run, "answer": run_answer, "exact": EXACT, "victims": ("RUN/masks.zarr/**/*",)},
    "run, lease and logs": {
        "make": make_run, "answer": run_answer, "exact": EXACT, "victims": ("RUN/lease/*", "RUN/logs/*"), "share": 0.5,
    },
    "verdicts": {
        "make": make_judged_run, "answer": verdicts_answer, "exact": ("verdicts", "reviewed"),
        "victims": ("RUN/verdicts.sqlite*",),
    },
}  # fmt: skip
