"""Study 1: seasons of increasing prevalence through the cascade, and through Mask R-CNN alone."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.bench.cost import CostModel, trade_off
from cascade.bench.networks import KERAS_32, PAPER, engines, measure_network
from cascade.bench.pool import IndexArray, Pool
from cascade.bench.profiled import profiled
from cascade.bench.screening_loss import AREA_THRESHOLDS, Marked
from cascade.bench.study import Progress
from cascade.camera import Camera
from cascade.evaluate import CcdCells, Labelling
from cascade.evaluate.labelling import run_found
from cascade.evaluate.screening import SURVEY_PREVALENCE
from cascade.pipeline.season import run_season
from cascade.runs.run import Run
from cascade.storage.atomic import read_json

PREVALENCES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.5)
N_EXPOSURES = 5000
"""Of a season at scale 1."""

_N_ALONE = 500  # at scale 1: without a screen, the time per exposure does not depend on the prevalence
_LEAST = 40  # exposures of a season at any scale
_PAPER_SCALE = 0.1  # smaller studies are trial runs without the paper's network, which takes minutes to build
_PAPER_ROUNDS = 2
_N_RESAMPLES = 1000

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Networks:
    """
    The models to benchmark.

    Attributes
    ----------
    screen, segment
        Models by name or folder.
    engine
        See `cascade.networks.engines.load_engine`.
    """

    screen: str
    segment: str
    engine: str = "auto"

    def as_json(self) -> dict[str, str]:
        """Names, without their folders, and engine."""
        return {"screen": Path(self.screen).name, "segment": Path(self.segment).name, "engine": self.engine}


def study_seasons(networks: Networks, pool: Path, *, scale: float, progress: Progress) -> dict[str, Any]:
    """
    Measure time and losses at every prevalence.

    Parameters
    ----------
    networks : Networks
    pool : Path
        Folder of simulated exposures, reused by later calls.
    scale : float
        Of the numbers of exposures; 1 is the full study.
    progress : callable

    Returns
    -------
    dict
        `networks`, `pool`, `seasons` (one per prevalence: times and `losses`), `all_exposures` (the losses of the whole
        pool, with the smallest intervals), `model`, `paper`, `break_even`, `trade_off`.
    """
    n, n_alone = (max(_LEAST, round(size * scale)) for size in (N_EXPOSURES, _N_ALONE))
    progress(f"drawing exposures for seasons of {n}")
    drawn = pool_for(pool, n)
    with tempfile.TemporaryDirectory(prefix="cascade-bench-") as folder:
        work = Path(folder)
        progress(f"screening and segmenting all {len(drawn)} exposures")
        everything, whole = _run(drawn.previews(), work / "all", networks, threshold=0.0)
        cells = CcdCells.of(Camera.decam())
        found = Labelling.of("alone", run_found(everything.table("artifacts"), range(len(drawn))), cells)
        marked = Marked.of(drawn.truth(cells), found, cells)
        scores = everything.table("exposures")["screen_score"].to_numpy(zero_copy_only=False).astype(float)
        seasons = []
        for prevalence in PREVALENCES:
            progress(f"{prevalence:.1%} ghosted: the cascade on {n} exposures, Mask R-CNN alone on {n_alone}")
            chosen = drawn.season(n, prevalence)
            drawn.write(chosen, work / f"{prevalence}.zarr")
            run, timed = _run([work / f"{prevalence}.zarr"], work / f"{prevalence}", networks)
            drawn.write(drawn.season(n_alone, prevalence), work / f"{prevalence}-alone.zarr")
            _, alone = _run([work / f"{prevalence}-alone.zarr"], work / f"{prevalence}-alone", networks, alone=True)
            seasons.append(
                {
                    "prevalence": prevalence, "cascade": timed, "alone": alone,
                    "speed_up": alone["ms"] / timed["ms"],
                    "same_artifacts": _same_artifacts(run, everything, chosen),
                    "losses": marked.select(chosen).losses(
                        drawn.ghosted()[chosen], _flagged(run), n_resamples=_N_RESAMPLES
                    ),
                }
            )  # fmt: skip
    threshold = run.config.threshold
    if threshold is None:
        msg = "expected a run with a screen to have a threshold"
        raise RuntimeError(msg)
    flagged = scores >= np.float32(threshold)
    paper = measure_paper(progress) if has_paper(scale) else []
    return {
        "study": "seasons", "scale": scale, "networks": networks.as_json(), "threshold": threshold,
        "pool": {"n_clean": drawn.n_clean, "n_ghosted": drawn.n_ghosted}, "everything": whole,
        "area_thresholds": AREA_THRESHOLDS, "seasons": seasons, "paper": paper,
        "all_exposures": marked.losses(drawn.ghosted(), flagged, n_resamples=_N_RESAMPLES),
        **_model(seasons, whole, paper, scores, drawn.ghosted(), flagged, marked),
    }  # fmt: skip


def pool_for(folder: Path, n: int) -> Pool:
    """A pool large enough for seasons of n exposures at all of `PREVALENCES`."""
    n_clean = n - max(1, round(n * min(PREVALENCES)))
    return Pool.draw(folder, n_clean, round(n * max(PREVALENCES)))


def has_paper(scale: float) -> bool:
    """Whether a study of that scale includes the paper's network, which takes minutes."""
    return scale >= _PAPER_SCALE


def measure_paper(progress: Progress) -> list[dict[str, Any]]:
    """Time the paper's network on a few images, in Keras as the paper ran it and in the fastest engine here."""
    rows = []
    for engine in dict.fromkeys((KERAS_32, engines()[-1])):
        progress(f"{PAPER} in {engine}, on a few images")
        # OpenVINO runs blocks of four; in Keras they would take four times the memory.
        n_images = 1 if engine == KERAS_32 else 4
        rows.append(profiled(measure_network, PAPER, engine, n_images=n_images, n_rounds=_PAPER_ROUNDS).value)
    return rows


def _run(
    inputs: Sequence[Path], out: Path, networks: Networks, *, threshold: float | None = None, alone: bool = False
) -> tuple[Run, dict[str, Any]]:
    """Run a season with the cascade, or with Mask R-CNN alone; timed from after the networks are loaded."""
    run = run_season(
        [str(path) for path in inputs], out, screen=None if alone else networks.screen, segment=networks.segment,
        engine=networks.engine, threshold=threshold,
    )  # fmt: skip
    session, counts = read_json(out / "run.json")["last_session"], run.summary().counts
    n = counts.n_exposures
    return run, {
        "n": n, "n_flagged": counts.n_flagged, "p_flag": counts.n_flagged / n,
        "ms": 1000 * session["seconds"] / n, "exposures_per_s": session["exposures_per_s"],
        "stages_ms": {stage: 1000 * spent / n for stage, spent in counts.seconds.items()},
    }  # fmt: skip


def _flagged(run: Run) -> BoolArray:
    """Which exposures a run flagged."""
    flagged: BoolArray = run.table("exposures")["flagged"].to_numpy(zero_copy_only=False).astype(bool)
    return flagged


def _same_artifacts(run: Run, everything: Run, chosen: IndexArray) -> float:
    """Fraction of flagged exposures with as many artifacts and pixels in the cascade as by Mask R-CNN alone."""
    ours, all_ = (
        np.stack([one.table("exposures")[name].to_numpy() for name in ("n_artifacts", "artifact_area")])
        for one in (run, everything)
    )
    flagged = _flagged(run)
    return float(np.mean(np.all(ours == all_[:, chosen], axis=0)[flagged])) if flagged.any() else 1.0


def _model(
    seasons: Sequence[dict[str, Any]],
    whole: dict[str, Any],
    paper: Sequence[dict[str, Any]],
    scores: npt.NDArray[np.float64],
    ghosted: BoolArray,
    flagged: BoolArray,
    marked: Marked,
) -> dict[str, Any]:
    """The cost model, break-even prevalences and trade-off curve."""
    points = [*(season["cascade"] for season in seasons), whole]
    model = CostModel.fit([p["p_flag"] for p in points], [p["ms"] / 1000 for p in points])
    t_alone = float(np.median([season["alone"]["ms"] for season in seasons])) / 1000
    recall, alarms = float(flagged[ghosted].mean()), float(flagged[~ghosted].mean())
    baselines = {"alone": t_alone, **{row["engine"]: 1 / row["images_per_s"] for row in paper}}
    true = marked.true["touched"]
    return {
        "model": {"t_screen_ms": 1000 * model.t_screen, "t_segment_ms": 1000 * model.t_segment, "worst": model.worst},
        "t_alone_ms": 1000 * t_alone,
        "screen": {"recall": recall, "false_alarm_rate": alarms},
        "break_even": {name: model.break_even(recall, alarms, seconds) for name, seconds in baselines.items()},
        "trade_off": trade_off(
            scores, ghosted, true.sum(axis=1), (true & marked.found["touched"]).sum(axis=1), model,
            prevalence=SURVEY_PREVALENCE, t_alone=t_alone,
        ),
    }  # fmt: skip
