"""
Throughput of each stage. `pytest benchmarks --benchmark-enable` measures; a normal test run only executes them once.

Every benchmark processes `N` exposures per round, so exposures/s is N over the time shown.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.inputs import open_inputs
from cascade.networks.models import DEFAULT_MODELS, find_model
from cascade.simulate import simulate_exposure

pytestmark = pytest.mark.slow

N = 32


@pytest.fixture(scope="module")
def previews() -> np.ndarray:
    rng = np.random.default_rng(0)
    kinds = [(), (), (Artifact.BRIGHT,), (Artifact.RAYS,)]
    return np.stack([simulate_exposure(kinds[n % 4], Camera.decam(), rng) for n in range(N)])


def test_read_jpegs(benchmark, previews, tmp_path):
    for n, image in enumerate(previews):
        Image.fromarray(image).save(tmp_path / f"D{n:08d}.jpg")
    reader = open_inputs([tmp_path])
    benchmark(lambda: [reader.read(n) for n in range(N)])


def test_screen(benchmark, previews):
    from cascade.networks.screen import NetworkScreener

    screener = NetworkScreener.load(find_model(DEFAULT_MODELS["screen"]))
    scores = benchmark(screener.score, previews)
    assert scores.shape == (N,)


def test_segment(benchmark, previews):
    from cascade.networks.segment import NetworkSegmenter

    segmenter = NetworkSegmenter.load(find_model(DEFAULT_MODELS["segment"]))
    found = benchmark(segmenter.segment, previews)
    assert len(found) == N


def test_season(benchmark, previews, tmp_path):
    from itertools import count

    from cascade.pipeline.season import run_season

    np.save(tmp_path / "x.npy", previews)
    numbers = count()
    # Includes loading the networks, besides reading, inference, tables and store.
    run = benchmark(lambda: run_season(tmp_path / "x.npy", tmp_path / f"run-{next(numbers)}"))
    assert run.summary().counts.n_exposures == N
