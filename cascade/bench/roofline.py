"""Study 2: throughput of each network relative to the machine's peak, and the fraction of a season in networks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from cascade.bench.networks import OPENVINO_16, OPENVINO_32, PAPER, TimedEngine, engines, measure_network, network_sizes
from cascade.bench.peaks import machine_speed
from cascade.bench.pool import Pool
from cascade.bench.profiled import profiled
from cascade.bench.profiles import profile
from cascade.bench.seasons import Networks, has_paper
from cascade.bench.study import Progress
from cascade.camera import Camera
from cascade.evaluate.screening import SURVEY_PREVALENCE
from cascade.inputs import open_inputs
from cascade.networks.engines import load_engine
from cascade.networks.model_id import ModelId
from cascade.networks.models import find_model
from cascade.networks.screen import NetworkScreener
from cascade.networks.segment import NetworkSegmenter
from cascade.pipeline.batch import run_serial
from cascade.runs.config import RunConfig
from cascade.runs.run import Run

MATMUL = 4096
"""Rows and columns of the matrices at scale 1."""

N_EXPOSURES = 2000
"""Of the season at scale 1."""

_LEAST_MATMUL, _LEAST = 256, 40
_N_IMAGES, _LEAST_IMAGES = 64, 8  # in a round, at scale 1 and at any
_ROUNDS, _PAPER_ROUNDS = 5, 1
_PAPER_IMAGES = {"keras": 1, "openvino": 4}  # OpenVINO runs blocks of four; in Keras four would exhaust memory
_BATCH = {"keras": 8, "openvino": 4}  # of plain convolutions: the segmenter's batch sizes
_BATCH_SIZE = 256
_N_WARM_UP = 8


def study_roofline(networks: Networks, pool: Path, *, scale: float, progress: Progress) -> dict[str, Any]:
    """
    Measure networks, matrix products and plain convolutions, all in this run.

    Parameters
    ----------
    networks : Networks
    pool : Path
        See `cascade.bench.seasons.study_seasons`.
    scale : float
        Of the sizes; 1 is the full study.
    progress : callable

    Returns
    -------
    dict
        `matmul` (GFLOP/s by engine), `rows` (one per network and engine), `profiles` (run time by part and layer in
        OpenVINO), `end_to_end` (run time of a season by stage).
    """
    size = max(_LEAST_MATMUL, round(MATMUL * min(1.0, scale)))
    names = [networks.screen, networks.segment, *([PAPER] if has_paper(scale) else [])]
    progress("counting operations")
    gflop = profiled(network_sizes, names).value
    matmul, rows = {}, []
    for engine in engines():
        kind = engine.split()[0]
        progress(f"{engine}: product of {size}x{size} matrices, plain convolutions")
        stacks = [
            (of_network, 1 if name == PAPER else _BATCH[kind]) for name, of_network in zip(names, gflop, strict=True)
        ]
        speed = profiled(machine_speed, engine, size, stacks).value
        matmul[engine] = speed["matmul"]
        for name, of_network, plain in zip(names, gflop, speed["plain"], strict=True):
            progress(f"{engine}: {name}")
            rows.append({**_row(name, engine, of_network, scale), "plain": plain})
    counted = [engine for engine in engines() if engine in (OPENVINO_32, OPENVINO_16)][-1:]
    return {
        "study": "roofline", "scale": scale, "networks": networks.as_json(), "matmul_size": size, "matmul": matmul,
        "rows": rows,
        "profiles": {engine: [profiled(profile, name, engine).value for name in names[:2]] for engine in counted},
        "end_to_end": end_to_end(networks, pool, scale, progress),
    }  # fmt: skip


def _row(name: str, engine: str, gflop: float, scale: float) -> dict[str, Any]:
    """One network on one engine."""
    n_images, n_rounds = max(_LEAST_IMAGES, round(_N_IMAGES * min(1.0, scale))), _ROUNDS
    if name == PAPER:
        n_images, n_rounds = _PAPER_IMAGES[engine.split()[0]], _PAPER_ROUNDS
    measured = profiled(measure_network, name, engine, n_images=n_images, n_rounds=n_rounds)
    achieved = gflop * measured.value["network_images_per_s"]
    return {**measured.value, "gflop": gflop, "gflop_per_s": achieved, "peak_mb": measured.peak_mb}


def end_to_end(networks: Networks, pool: Path, scale: float, progress: Progress) -> dict[str, Any]:
    """Run a season at a survey's prevalence through the cascade, with the networks timed separately."""
    n = max(_LEAST, round(N_EXPOSURES * scale))
    progress(f"{n} exposures, {SURVEY_PREVALENCE:.0%} ghosted, end to end")
    n_ghosted = round(n * SURVEY_PREVALENCE)
    drawn = Pool.draw(pool, n - n_ghosted, n_ghosted)
    infos = [find_model(name) for name in (networks.screen, networks.segment)]
    screen, segment = (TimedEngine(load_engine(info, networks.engine)) for info in infos)
    screener = NetworkScreener(screen, infos[0].calibration)
    segmenter = NetworkSegmenter(segment, min_score=infos[1].threshold, semantic=infos[1].semantic)
    ids = [ModelId(info.name, info.sha256, info.description_sha256) for info in infos]
    with tempfile.TemporaryDirectory(prefix="cascade-bench-") as folder:
        store = Path(folder) / "season.zarr"
        drawn.write(drawn.season(n, SURVEY_PREVALENCE), store)
        reader = open_inputs(store)
        first = np.stack([reader.read(k).image for k in range(_N_WARM_UP)])
        screener.score(first)
        segmenter.segment(first)
        screen.seconds = segment.seconds = 0.0
        config = RunConfig("", n, ids[0], ids[1], infos[0].threshold, _BATCH_SIZE)
        run = Run.create_or_resume(Path(folder) / "run", config)
        start = perf_counter()
        summary = run_serial(reader, run, screener, segmenter, Camera.decam())
        seconds = perf_counter() - start
    stages = summary.counts.seconds
    return {
        "n": n, "n_flagged": summary.counts.n_flagged, "seconds": seconds, "exposures_per_s": n / seconds,
        "engines": [screen.name, segment.name], "stages_s": dict(stages),
        "screen_network_s": screen.seconds, "segment_network_s": segment.seconds,
    }  # fmt: skip
