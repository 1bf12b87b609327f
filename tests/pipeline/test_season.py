from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade.camera import Camera
from cascade.core.errors import ConfigError, ModelError
from cascade.networks.calibration import Calibration, Guarantee
from cascade.networks.model_id import ModelId
from cascade.networks.model_info import read_model
from cascade.networks.models import build_network, calibrated_copy, write_model
from cascade.pipeline.loader import NetworkLoader, promised_threshold
from cascade.pipeline.season import run_season
from cascade.simulate import simulate_exposure

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, tiny_architectures) -> Path:
    import keras

    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("zoo")
    for task, threshold in (("screen", 0.5), ("segment", 0.0)):
        architecture = tiny_architectures[task]
        network = build_network(architecture)
        write_model(folder / task, network, task=task, architecture=architecture, threshold=threshold, training={})
    return folder


@pytest.fixture(scope="module")
def previews(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("previews")
    for n in range(3):
        image = simulate_exposure((), Camera.decam(), np.random.default_rng(n))
        Image.fromarray(image).save(folder / f"D{600001 + n:08d}.png")
    return folder


def test_threshold_of_the_model_is_the_default(zoo, previews, tmp_path):
    default = run_season(previews, tmp_path / "default", screen="screen", segment="segment", models_dir=zoo)
    assert default.config.threshold == 0.5
    scores = default.table("exposures")["screen_score"].to_pylist()
    everything = run_season(
        previews, tmp_path / "all", screen="screen", segment="segment", models_dir=zoo, threshold=min(scores)
    )
    assert everything.config.threshold == min(scores)
    assert everything.table("exposures")["flagged"].to_pylist() == [True] * 3


def test_run_and_batches_are_reported(zoo, previews, tmp_path):
    started, batches = [], []
    run = run_season(
        [previews], tmp_path / "run", screen=None, segment=str(zoo / "segment"), batch_size=2,
        on_start=started.append, on_batch=batches.append,
    )  # fmt: skip
    assert [r.path for r in started] == [run.path]
    assert [counts.n_exposures for counts in batches] == [2, 1]
    assert run.config.screen is None
    again: list[object] = []
    run_season([previews], tmp_path / "run", screen=None, segment=str(zoo / "segment"), batch_size=2,
               on_batch=again.append)  # fmt: skip
    assert not again


def test_threshold_without_a_screen_is_an_error(zoo, previews, tmp_path):
    with pytest.raises(ConfigError, match=r"expected none without a screen, got 0\.3 and None"):
        run_season(previews, tmp_path / "run", screen=None, segment="segment", models_dir=zoo, threshold=0.3)


def test_recall_without_a_screen_is_an_error(zoo, previews, tmp_path):
    with pytest.raises(ConfigError, match=r"expected none without a screen, got None and 0\.9"):
        run_season(previews, tmp_path / "run", screen=None, segment="segment", models_dir=zoo, recall=0.9)


def test_threshold_and_recall_exclude_each_other(zoo, previews, tmp_path):
    with pytest.raises(ConfigError, match=r"threshold and recall: expected one of them, got 0\.3 and 0\.9"):
        run_season(previews, tmp_path / "run", screen="screen", segment="segment", models_dir=zoo, threshold=0.3,
                   recall=0.9)  # fmt: skip


IDENTITY = Calibration("platt", (1.0,), (0.0,))


def promising(info, *promises):
    """The same screen with promises, from (recall, threshold)."""
    made = tuple(Guarantee(recall, 0.95, threshold, 300, "labels.csv") for recall, threshold in promises)
    return replace(info, guarantees=made)


@pytest.mark.parametrize(
    ("promises", "recall", "expected"),
    [
        ([(0.99, 0.1)], 0.99, 0.1),
        ([(0.99, 0.1)], 0.9, 0.1),  # more than was asked for
        ([(0.9, 0.4), (0.99, 0.1), (0.95, 0.3)], 0.95, 0.3),  # the highest that is enough
        ([(0.9, 0.4), (0.99, 0.1), (0.95, 0.3)], 0.96, 0.1),
    ],
)
def test_the_highest_threshold_that_promises_enough_is_taken(promises, recall, expected, zoo, caplog):
    info = promising(read_model(zoo / "screen"), *promises)
    with caplog.at_level(logging.INFO, logger="cascade.pipeline.loader"):
        assert promised_threshold(info, recall) == expected
    assert "with confidence 0.95 on exposures like those of labels.csv (300 ghosted)" in caplog.text


@pytest.mark.parametrize(("promises", "named"), [([], "none"), ([(0.9, 0.4), (0.95, 0.3)], r"0\.9, 0\.95")])
def test_a_recall_that_nobody_promised_is_an_error(promises, named, zoo):
    info = promising(read_model(zoo / "screen"), *promises)
    with pytest.raises(
        ConfigError, match=rf"recall 0\.99: screen promises {named}; `cascade calibrate` makes promises"
    ):
        promised_threshold(info, 0.99)


def test_a_run_flags_from_the_promised_threshold(zoo, previews, tmp_path):
    info = read_model(zoo / "screen")
    promise = Guarantee(0.9, 0.95, 0.0, 300, "labels.csv")
    calibrated_copy(info, tmp_path / "sure", IDENTITY, [promise], default=False)
    run = run_season(previews, tmp_path / "run", screen=str(tmp_path / "sure"), segment="segment", models_dir=zoo,
                     recall=0.9)  # fmt: skip
    assert run.config.threshold == 0.0
    assert run.table("exposures")["flagged"].to_pylist() == [True] * 3


def test_model_of_the_other_task_is_an_error(zoo, previews, tmp_path):
    with pytest.raises(ModelError, match="model 'screen': expected one to segment, got one to screen"):
        run_season(previews, tmp_path / "run", screen="screen", segment="screen", models_dir=zoo)


def test_weights_that_were_replaced_since_the_run_began_are_an_error(zoo):
    loader = NetworkLoader(None, zoo / "segment", (ModelId("segment", "00", "00"),), "keras")
    with pytest.raises(ModelError, match=r"expected ModelId.*'00'.*, got ModelId.*: the model was replaced"):
        loader()
