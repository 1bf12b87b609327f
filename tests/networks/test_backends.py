"""TensorFlow, JAX and PyTorch give the same answers; each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BACKENDS = ("tensorflow", "jax", "torch")
TOLERANCE = {"boxes": 0.05, "masks": 2e-3, "history": 2e-2}  # six steps of `fit` add up small differences

pytestmark = [pytest.mark.slow, pytest.mark.backends]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Every installed backend's answers, by backend; they are asked at the same time."""
    folder = tmp_path_factory.mktemp("answers")
    script = Path(__file__).parents[1] / "backend_answers.py"
    asked = {
        backend: subprocess.Popen(
            [sys.executable, script, folder / f"{backend}.npz"], env={**os.environ, "KERAS_BACKEND": backend}
        )
        for backend in BACKENDS
        if importlib.util.find_spec(backend)
    }
    told = {}
    for backend, process in asked.items():
        assert process.wait() == 0, backend
        with np.load(folder / f"{backend}.npz", allow_pickle=False) as file:
            told[backend] = dict(file)
    return told


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backend_answers_as_tensorflow(backend, answers):
    if backend not in answers:
        pytest.skip(f"{backend} is not installed; .ci/run installs it")
    for name, expected in answers["tensorflow"].items():
        tolerance = TOLERANCE.get(name.split()[-1], 1e-3)
        np.testing.assert_allclose(answers[backend][name], expected, rtol=1e-3, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend_learns(backend, answers):
    if backend not in answers:
        pytest.skip(f"{backend} is not installed; .ci/run installs it")
    history = answers[backend]["history"]
    assert np.isfinite(history).all()
    assert history[-1] < 0.9 * history[0]
