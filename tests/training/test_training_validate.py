import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from engine_fakes import MapEngine
from seasons import CONFIG
from trainings import FIT, close, rows

from cascade.camera import Camera
from cascade.training import validate
from cascade.training.sources import SyntheticSeason
from cascade.training.validate import Validation, copy_weights, screen_auc, segment_f1

pytestmark = pytest.mark.slow

CAMERA = Camera.decam()
EPOCH_STEPS = 3


@pytest.fixture(scope="module")
def season(season_folder):
    return SyntheticSeason(season_folder, CONFIG)


def line(policy="float32"):
    """One weight and one bias."""
    inputs = keras.Input((1,))
    return keras.Model(inputs, keras.layers.Dense(1, dtype=policy)(inputs))


def fitted(scores, tmp_path, *, epochs=8, average=0.0, on_epoch=None, **changes):
    """Fit a line with a validation that gets these scores; what it gave, and the copy that was scored."""
    keras.utils.set_random_seed(0)
    network, plain = line(), line()
    network.compile(keras.optimizers.Adam(0.1, use_ema=average > 0, ema_momentum=average), loss="mse")
    given = iter(scores)
    fit = replace(FIT, **{"steps": epochs * EPOCH_STEPS, "validate_every": EPOCH_STEPS, "patience": 2, **changes})
    validation = Validation(
        "screen", network, plain, lambda scored: (on_epoch or (lambda *_: None))(network, scored) or next(given),
        tmp_path, fit, EPOCH_STEPS,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EPOCH_STEPS * 4, 1)).astype(np.float32)
    history = network.fit(x, 3 * x + 1, batch_size=4, epochs=epochs, verbose=0, shuffle=False, callbacks=[validation])
    return validation, history, network, plain


def best(folder):
    return json.loads((folder / "best.json").read_text())


def test_the_best_weights_are_kept(tmp_path):
    seen = []
    validation, _, _, plain = fitted(
        [0.1, 0.5, 0.3, 0.4, 0.2, 0.0, 0.0, 0.0], tmp_path, patience=9,
        on_epoch=lambda _, scored: seen.append(scored.get_weights()),
    )  # fmt: skip
    assert best(tmp_path) == {"step": 6, "score": 0.5}
    plain.load_weights(validation.weights)
    assert close(plain.get_weights(), seen[1], atol=0)
    assert not close(seen[1], seen[-1])


def test_of_equal_scores_the_last_is_best(tmp_path):
    fitted([0.5, 0.5, 0.5], tmp_path, epochs=3)
    assert best(tmp_path)["step"] == 9


def test_fitting_stops_when_patience_ends(tmp_path):
    _, history, _, _ = fitted([0.1, 0.5, 0.3, 0.4], tmp_path, epochs=20)
    assert len(history.epoch) == 4
    assert best(tmp_path)["step"] == 6


def test_an_improvement_renews_the_patience(tmp_path):
    _, history, _, _ = fitted([0.5, 0.4, 0.6, 0.5, 0.5], tmp_path, epochs=20)
    assert len(history.epoch) == 5


def test_validation_comes_every_so_often_and_at_the_end(tmp_path):
    fitted([0.1, 0.2, 0.3], tmp_path, epochs=5, validate_every=2 * EPOCH_STEPS)
    assert [row["step"] for row in rows(tmp_path / "validation.csv")] == ["6", "12", "15"]


def test_scores_are_logged(tmp_path):
    _, history, _, _ = fitted([0.125, 0.25], tmp_path, epochs=2)
    assert history.history["val_roc_auc"] == [0.125, 0.25]
    assert rows(tmp_path / "validation.csv") == [
        {"step": "3", "roc_auc": "0.125"}, {"step": "6", "roc_auc": "0.25"},
    ]  # fmt: skip


def test_what_is_scored_are_the_averaged_weights_and_learning_goes_on_from_the_others(tmp_path):
    seen = []
    fitted(
        [0.1] * 6, tmp_path, epochs=6, average=0.9, patience=9,
        on_epoch=lambda network, scored: seen.append((network.get_weights(), scored.get_weights())),
    )  # fmt: skip
    (tmp_path / "plain").mkdir()
    plainly = []
    fitted(
        [0.1] * 6, tmp_path / "plain", epochs=6, patience=9,
        on_epoch=lambda network, _: plainly.append(network.get_weights()),
    )  # fmt: skip
    for (learning, scored), undisturbed in zip(seen, plainly, strict=True):
        assert close(learning, undisturbed, atol=1e-6)
        assert not close(learning, scored)


def test_a_validation_that_is_done_again_replaces_what_was_said_of_later_steps(tmp_path):
    """As after a restart from an older checkpoint."""
    fitted([0.1, 0.2, 0.9], tmp_path, epochs=3)
    fitted([0.3, 0.2], tmp_path, epochs=2)
    assert [row["roc_auc"] for row in rows(tmp_path / "validation.csv")] == ["0.3", "0.2"]
    assert best(tmp_path) == {"step": 6, "score": 0.2} or best(tmp_path) == {"step": 3, "score": 0.3}


def test_copied_weights_are_the_average_by_its_definition():
    keras.utils.set_random_seed(0)
    network, plain = line(), line()
    network.compile(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.7), loss="mse")
    x = np.random.default_rng(0).normal(size=(4, 1)).astype(np.float32)
    mean = None
    for _ in range(5):
        network.train_on_batch(x, 3 * x + 1)
        now = network.get_weights()
        mean = now if mean is None else [0.7 * old + 0.3 * new for old, new in zip(mean, now, strict=True)]
    copy_weights(network, network, plain)
    assert close(plain.get_weights(), mean, atol=1e-6)
    assert close(network.get_weights(), now, atol=0)


def test_without_averages_the_weights_themselves_are_copied():
    network, plain = line(), line()
    network.compile(keras.optimizers.SGD(0.05), loss="mse")
    network.train_on_batch(np.ones((4, 1)), np.zeros((4, 1)))
    copy_weights(network, network, plain)
    assert close(plain.get_weights(), network.get_weights(), atol=0)


class Brightness:
    """A network that takes bright images for ghosted ones."""

    def __init__(self, sign=1):
        self.sign, self.n_seen = sign, 0

    def predict_on_batch(self, images):
        self.n_seen += len(images)
        return self.sign * (images[:, 0, 0] - 100)


class Painted:
    """A season whose ghosted exposures have a bright corner; only the last four may be looked at."""

    held_out = range(4, 8)

    def __init__(self, season):
        self._season = season

    def sample(self, n):
        assert n in self.held_out
        sample = self._season.sample(n)
        image = sample.image.copy()
        image[0, 0] = 200 if len(sample.found) else 10
        return replace(sample, image=image)


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, 0.0)])
def test_a_screen_is_scored_on_every_held_out_exposure(sign, expected, season):
    network = Brightness(sign)
    assert screen_auc(network, Painted(season)) == expected
    assert network.n_seen == 4


def all_seeing(season, held_out):
    """What an engine says that marks what the season's labels mark, as a map of cells."""
    marked = np.stack([season.sample(n).marked for n in held_out])
    cells = marked.reshape(len(marked), 4, 100, 4, 100, 4).mean(axis=(3, 5))
    return MapEngine(np.moveaxis(cells, 1, -1))


@pytest.mark.parametrize("block", [4, 32])
def test_a_segmenter_is_scored_on_held_out_exposures(block, season, monkeypatch):
    monkeypatch.setattr(validate, "_BLOCK", block)
    monkeypatch.setattr(validate, "KerasEngine", lambda *_: all_seeing(season, season.held_out))
    assert segment_f1(None, season, CAMERA, threshold=0.5, semantic=0.5) > 0.9
    monkeypatch.setattr(validate, "KerasEngine", lambda *_: MapEngine(np.zeros((4, 100, 100, 4))))
    assert segment_f1(None, season, CAMERA, threshold=0.5, semantic=0.5) == 0.0
