import json
import logging
from dataclasses import replace
from functools import partial
from itertools import pairwise

import keras
import numpy as np
import pytest
from annotated import annotated_set
from PIL import Image
from seasons import CONFIG as SEASON
from trainings import (
    FIT,
    Killed,
    Witness,
    close,
    kill_at,
    rows,
    shorten_epochs,
    train_config,
    trainable,
)

from cascade.camera import Camera
from cascade.core.errors import ConfigError, ModelError
from cascade.networks.model_info import read_model
from cascade.networks.models import build_network, load_network
from cascade.networks.nets.classifier import ScreenTraining
from cascade.networks.nets.mask_rcnn import LOSSES, MaskRCNNTraining, mean_loss
from cascade.networks.nets.semantic import SemanticTraining
from cascade.training import fit as fit_module
from cascade.training.batches import ScreenBatches, SegmentBatches, SemanticBatches
from cascade.training.fit import train
from cascade.training.sources import SyntheticSeason, TrainingData

pytestmark = pytest.mark.slow

CAMERA = Camera.decam()
TASKS = {"screen": "screen", "segment": "segment", "semantic": "segment"}


@pytest.fixture(scope="module")
def data(season_folder):
    """Two annotated exposures and eight synthetic ones."""
    return TrainingData(annotated_set(2), SyntheticSeason(season_folder, SEASON))


@pytest.fixture(scope="module", autouse=True)
def short_epochs():
    with pytest.MonkeyPatch.context() as patch:
        shorten_epochs(patch)
        yield


@pytest.fixture(scope="module")
def configs(tiny_architectures):
    """A few steps of each network; the screen with dropout, so that its random state matters."""
    screen = {**tiny_architectures["screen"], "dropout": 0.5}
    return {
        "screen": train_config(screen, SEASON),
        "segment": train_config(tiny_architectures["segment"], SEASON, steps=2, validate_every=0),
        "semantic": train_config(tiny_architectures["semantic"], SEASON, steps=4, validate_every=4),
    }


@pytest.fixture(scope="module")
def witnessed(data, configs, tmp_path_factory):
    """A screen trained without a break, with averaged weights and validation, and the witness of that."""
    with pytest.MonkeyPatch.context() as patch:
        witness = Witness(patch)
        info = train("screen", configs["screen"], data, CAMERA, tmp_path_factory.mktemp("whole") / "model")
    return info, witness


@pytest.fixture(scope="module")
def whole(witnessed):
    return witnessed[0]


def with_fit(config, **changes):
    return replace(config, fit=replace(config.fit, **changes))


def assert_loss_falls(model, inputs, targets):
    """The one routine for every network: a few steps on one batch lower its loss."""
    history = model.fit(inputs, targets, batch_size=len(inputs["image"] if isinstance(inputs, dict) else inputs),
                        epochs=12, verbose=0, shuffle=False).history["loss"]  # fmt: skip
    assert np.isfinite(history).all()
    assert np.mean(history[-3:]) < 0.9 * np.mean(history[:3])


@pytest.mark.parametrize("kind", TASKS)
def test_a_few_steps_lower_the_loss(kind, data, tiny_architectures):
    keras.utils.set_random_seed(2)
    network = build_network(tiny_architectures[kind])
    batches_of = {"screen": ScreenBatches, "segment": SegmentBatches, "semantic": SemanticBatches}[kind]
    batch = batches_of(None, data.season, 0.0, CAMERA, replace(FIT, batch=4))[0]
    optimizer = keras.optimizers.Adam(1e-2)
    wrappers = {
        "screen": ScreenTraining,
        "semantic": SemanticTraining,
        "segment": partial(MaskRCNNTraining, n_anchors=64, n_regions=16, n_positive=4, seed=0),
    }
    training = wrappers[kind](network)
    training.compile(optimizer, loss=dict.fromkeys(training.loss_names, mean_loss), jit_compile=False)
    assert_loss_falls(training, *batch)


def assert_trained(info, kind, config, data):
    """A model folder is whole and says how it was made."""
    assert info == read_model(info.folder)
    assert (info.name, info.task, info.threshold) == ("model", TASKS[kind], config.threshold)
    assert info.architecture == config.architecture
    assert info.training["exposures"] == list(data.annotated.expnums)
    assert info.training["season"] == {"n_exposures": 8, "ghosted_share": 0.5, "seed": 3}
    assert info.training["steps"] == config.fit.steps
    network = load_network(info)
    assert all(np.isfinite(weight).all() for weight in network.get_weights())
    assert [int(row["step"]) for row in rows(info.folder / "losses.csv")] == list(range(2, config.fit.steps + 1, 2))
    with Image.open(info.folder / "losses.png") as picture:
        assert picture.width > 400
    assert list((info.folder / "logs").glob("events.out.tfevents.*"))


def test_training_a_screen_writes_a_model_that_loads(whole, data, configs):
    assert_trained(whole, "screen", configs["screen"], data)


@pytest.mark.parametrize("kind", ["segment", "semantic"])
def test_training_a_segmenter_in_mixed_precision_writes_a_model_that_loads(kind, data, configs, tmp_path):
    config = with_fit(configs[kind], precision="mixed_bfloat16")
    info = train("segment", config, data, CAMERA, tmp_path / "model")
    assert_trained(info, kind, config, data)
    assert info.semantic == config.semantic
    logged = set(rows(tmp_path / "model" / "losses.csv")[0])
    # Keras does not repeat the only loss of a network under its name.
    assert logged >= ({f"{name}_loss" for name in LOSSES} if kind == "segment" else {"step", "loss"})
    assert ("best_step" in info.training) == (kind == "semantic")
    assert keras.mixed_precision.dtype_policy().name == "float32"


def test_the_learning_rate_warms_up_and_ends_at_zero(witnessed, configs):
    _, witness = witnessed
    peak, rates = configs["screen"].fit.learning_rate, witness.rates
    assert len(rates) == 6
    assert rates[0] == max(rates) == pytest.approx(peak)
    assert all(a > b for a, b in pairwise(rates))
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_steps_beyond_the_last_change_nothing(configs):
    """Steps are rounded up to whole epochs; those on top must not learn at another rate."""
    config = with_fit(configs["screen"], steps=100)
    trained = fit_module._compiled("screen", build_network(config.architecture), config)
    schedule = trained.optimizer._learning_rate
    rates = np.array([float(schedule(step)) for step in range(150)])
    assert rates.argmax() == 5  # 5 % of the steps
    assert rates.max() == pytest.approx(config.fit.learning_rate)
    assert np.all(np.diff(rates[5:101]) < 0)
    np.testing.assert_allclose(rates[100:], 0, atol=1e-9)


def test_averaged_weights_are_what_is_saved(data, configs, tmp_path, monkeypatch):
    witness = Witness(monkeypatch)
    info = train("screen", with_fit(configs["screen"], validate_every=0), data, CAMERA, tmp_path / "model")
    assert close(trainable(info), witness.averaged(0.8))
    assert not close(trainable(info), witness.weights[-1])
    assert "best_step" not in info.training


def test_without_averaging_the_last_weights_are_what_is_saved(data, configs, tmp_path, monkeypatch):
    witness = Witness(monkeypatch)
    config = with_fit(configs["screen"], validate_every=0, average=0.0)
    assert close(trainable(train("screen", config, data, CAMERA, tmp_path / "model")), witness.weights[-1])


def test_averages_of_the_best_step_are_what_is_saved(data, configs, tmp_path, monkeypatch):
    scores = iter([0.5, 0.8, 0.7])
    monkeypatch.setattr(fit_module, "screen_auc", lambda *_: next(scores))
    witness = Witness(monkeypatch)
    info = train("screen", configs["screen"], data, CAMERA, tmp_path / "model")
    assert info.training["best_step"] == 4
    assert close(trainable(info), witness.averaged(0.8, 4))
    assert not close(trainable(info), witness.averaged(0.8))
    assert rows(tmp_path / "model/checkpoint/validation.csv") == [
        {"step": "2", "roc_auc": "0.5"}, {"step": "4", "roc_auc": "0.8"}, {"step": "6", "roc_auc": "0.7"},
    ]  # fmt: skip


def test_training_stops_early_where_nothing_improves(data, configs, tmp_path, monkeypatch):
    scores = iter([0.5, 0.8, 0.7, 0.6])
    monkeypatch.setattr(fit_module, "screen_auc", lambda *_: next(scores))
    info = train("screen", with_fit(configs["screen"], steps=60, patience=2), data, CAMERA, tmp_path / "model")
    assert info.training["best_step"] == 4
    assert [row["step"] for row in rows(tmp_path / "model" / "losses.csv")] == ["2", "4", "6", "8"]


def traces(folder):
    """What a training wrote down, but for weights."""
    return [rows(folder / name) for name in ("losses.csv", "checkpoint/validation.csv")], json.loads(
        (folder / "checkpoint" / "best.json").read_text()
    )["step"]


@pytest.mark.parametrize("epoch", [1, 2])
def test_killing_and_resuming_changes_nothing(epoch, whole, data, configs, tmp_path, monkeypatch):
    revive = kill_at(monkeypatch, epoch)
    with pytest.raises(Killed):
        train("screen", configs["screen"], data, CAMERA, tmp_path / "killed")
    assert not (tmp_path / "killed" / "model.toml").exists()
    revive()
    resumed = train("screen", configs["screen"], data, CAMERA, tmp_path / "killed")
    assert close(load_network(resumed).get_weights(), load_network(whole).get_weights())
    assert traces(tmp_path / "killed") == traces(whole.folder)
    assert resumed.training["best_step"] == whole.training["best_step"]


def test_a_kill_during_validation_changes_nothing(whole, data, configs, tmp_path, monkeypatch):
    def dying(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "screen_auc", dying)
        with pytest.raises(Killed):
            train("screen", configs["screen"], data, CAMERA, tmp_path / "killed")
    train("screen", configs["screen"], data, CAMERA, tmp_path / "killed")
    assert traces(tmp_path / "killed") == traces(whole.folder)


def test_random_states_follow_the_epoch_since_checkpoints_lack_them(configs, tmp_path):
    network = build_network(configs["screen"].architecture)
    dropout = network.get_layer("dropout").seed_generator
    progress = fit_module._Progress(tmp_path / "losses.csv", _NoBatches(), configs["screen"].fit, None)
    progress.set_model(network)
    states = []
    for epoch in (0, 3, 0):
        progress.on_epoch_begin(epoch)
        states.append(keras.ops.convert_to_numpy(dropout.state).tolist())
        keras.random.uniform((2,), seed=dropout)
    assert states[0] == states[2] != states[1]


class _NoBatches:
    epoch = 0


def test_a_kill_after_the_last_step_costs_no_training(whole, data, configs, tmp_path, monkeypatch):
    def dying(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "write_model", dying)
        with pytest.raises(Killed):
            train("screen", configs["screen"], data, CAMERA, tmp_path)
    before = rows(tmp_path / "losses.csv")
    info = train("screen", configs["screen"], data, CAMERA, tmp_path)
    assert rows(tmp_path / "losses.csv") == before
    assert close(load_network(info).get_weights(), load_network(whole).get_weights())


def test_a_torn_checkpoint_gives_way_to_the_one_before(whole, data, configs, tmp_path, monkeypatch):
    revive = kill_at(monkeypatch, epoch=2)
    with pytest.raises(Killed):
        train("screen", configs["screen"], data, CAMERA, tmp_path)
    revive()
    torn = tmp_path / "checkpoint" / "state" / "latest.weights.h5"
    torn.write_bytes(torn.read_bytes()[:1000])
    info = train("screen", configs["screen"], data, CAMERA, tmp_path)
    assert close(load_network(info).get_weights(), load_network(whole).get_weights())
    assert rows(tmp_path / "checkpoint/validation.csv") == rows(whole.folder / "checkpoint/validation.csv")


def test_a_finished_training_is_not_repeated(whole, data, configs, monkeypatch, caplog):
    left = {path.name for path in whole.folder.joinpath("checkpoint").iterdir()}
    assert left == {"training.json", "finished", "best.json", "best.weights.h5", "validation.csv"}
    monkeypatch.setattr(fit_module, "build_network", None)
    with caplog.at_level(logging.INFO, logger="cascade.training"):
        assert train("screen", configs["screen"], data, CAMERA, whole.folder) == whole
    assert "already trained; delete" in caplog.text


def test_the_checkpoint_of_another_configuration_is_refused(whole, data, configs, tmp_path, monkeypatch):
    kill_at(monkeypatch, epoch=0)
    with pytest.raises(Killed):
        train("screen", configs["screen"], data, CAMERA, tmp_path)
    message = "holds the checkpoint of another configuration; choose another --out or delete"
    with pytest.raises(ConfigError, match=message):
        train("screen", replace(configs["screen"], text="another"), data, CAMERA, tmp_path)
    fewer = TrainingData(data.annotated.select([0]), data.season)
    with pytest.raises(ConfigError, match=message):
        train("screen", configs["screen"], fewer, CAMERA, tmp_path)
    with pytest.raises(ConfigError, match=message):
        train("screen", configs["screen"], data, CAMERA, tmp_path, start=whole)


def test_an_unknown_precision_is_an_error_and_leaves_the_policy(data, configs, tmp_path):
    wrong = with_fit(configs["screen"], precision="float7")
    with pytest.raises(ConfigError, match="precision: expected a Keras dtype policy, got 'float7'"):
        train("screen", wrong, data, CAMERA, tmp_path)
    assert keras.mixed_precision.dtype_policy().name == "float32"


@pytest.mark.parametrize(("task", "kind"), [("screen", "segment"), ("screen", "semantic"), ("segment", "screen")])
def test_configuration_of_the_other_task_is_refused(task, kind, data, configs, tmp_path):
    with pytest.raises(
        ModelError, match=f"expected an architecture for task '{task}', got .*, which is for '{TASKS[kind]}'"
    ):
        train(task, configs[kind], data, CAMERA, tmp_path / "model")


def test_model_that_was_not_trained_there_is_not_overwritten(data, configs, tmp_path):
    (tmp_path / "model.toml").write_text("precious")
    with pytest.raises(ConfigError, match="holds a model that was not trained here; choose another --out"):
        train("screen", configs["screen"], data, CAMERA, tmp_path)
    assert (tmp_path / "model.toml").read_text() == "precious"


def test_steps_and_loss_are_reported(configs, tmp_path):
    told = []
    progress = fit_module._Progress(
        tmp_path / "losses.csv", _NoBatches(), configs["screen"].fit, lambda *a: told.append(a)
    )
    progress.on_epoch_end(0, {"loss": 0.5})
    progress.on_epoch_end(1, {"loss": 0.25})
    assert told == [(2, "loss 0.500"), (2, "loss 0.250")]


def test_finished_training_reports_all_its_steps(whole, data, configs):
    told = []
    train("screen", configs["screen"], data, CAMERA, whole.folder, on_steps=lambda *a: told.append(a))
    assert told == [(6, "already trained")]


def test_a_start_is_checked_in_float32(configs, data, tmp_path, monkeypatch):
    start = train("screen", configs["screen"], data, CAMERA, tmp_path / "start")
    monkeypatch.setattr("cascade.networks.golden._TOLERANCE", 1e-4)  # bfloat16 would miss that
    config = with_fit(configs["screen"], precision="mixed_bfloat16")
    info = train("screen", config, data, CAMERA, tmp_path / "next", start=start)
    assert info.training["start"] == "start"
