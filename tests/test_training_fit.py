import csv
import logging
from dataclasses import replace

import keras
import numpy as np
import pytest
from annotated import annotated_set

from cascade.camera import Camera
from cascade.errors import ConfigError, ModelError
from cascade.models import build_network, load_network, read_model
from cascade.nets.mask_rcnn import LOSSES, MaskRCNNTraining, mean_loss
from cascade.training import batches as batches_module
from cascade.training import fit as fit_module
from cascade.training.batches import ScreenBatches, SegmentBatches
from cascade.training.config import DataConfig, FitConfig, TrainConfig
from cascade.training.fit import train

CAMERA = Camera.decam()
EPOCH_STEPS = 2


class Killed(BaseException):
    """Stands for a signal."""


@pytest.fixture(scope="module")
def annotated():
    return annotated_set(2)


@pytest.fixture(scope="module", autouse=True)
def short_epochs():
    with pytest.MonkeyPatch.context() as patch:
        for module in (batches_module, fit_module):
            patch.setattr(module, "EPOCH_STEPS", EPOCH_STEPS)
        yield


@pytest.fixture(scope="module")
def configs(tiny_architectures):
    """A few steps of each task; the screen with dropout, so that its random state matters."""
    data = DataConfig("i", "a", clean_share=0.5, warp_share=0.5)
    fit = FitConfig(steps=4, batch=2, learning_rate=1e-2, weight_decay=0.01, precision="float32", seed=11)
    screen = {**tiny_architectures["screen"], "dropout": 0.5}
    return {
        "screen": TrainConfig(screen, 0.4, data, fit, "screen"),
        "segment": TrainConfig(tiny_architectures["segment"], 0.3, data, replace(fit, steps=2), "segment"),
    }


@pytest.fixture(scope="module")
def whole(annotated, configs, tmp_path_factory):
    """A screen trained without a break."""
    return train("screen", configs["screen"], annotated, CAMERA, tmp_path_factory.mktemp("whole") / "model")


def losses(folder):
    with folder.joinpath("losses.csv").open() as file:
        return list(csv.DictReader(file))


def weights(info):
    return load_network(info).get_weights()


def kill_at(monkeypatch, epoch):
    """Die as soon as an epoch begins; returns how to stop dying."""
    begin = fit_module._Progress.on_epoch_begin

    def dying(self, at, logs=None):
        begin(self, at, logs)
        if at == epoch:
            raise Killed

    monkeypatch.setattr(fit_module._Progress, "on_epoch_begin", dying)
    return lambda: monkeypatch.setattr(fit_module._Progress, "on_epoch_begin", begin)


def assert_loss_falls(model, inputs, targets):
    """The one routine for every network: a few steps on one batch lower its loss."""
    history = model.fit(inputs, targets, batch_size=len(inputs["image"] if isinstance(inputs, dict) else inputs),
                        epochs=12, verbose=0, shuffle=False).history["loss"]  # fmt: skip
    assert np.isfinite(history).all()
    assert np.mean(history[-3:]) < 0.9 * np.mean(history[:3])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["screen", "segment"])
def test_a_few_steps_lower_the_loss(task, annotated, tiny_architectures, configs):
    keras.utils.set_random_seed(2)
    network, config = build_network(tiny_architectures[task]), configs[task]
    fit = replace(config.fit, batch=4)
    optimizer = keras.optimizers.Adam(1e-2)
    if task == "screen":
        network.compile(optimizer, loss=keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
        assert_loss_falls(network, *ScreenBatches(annotated, CAMERA, config.data, fit)[0])
    else:
        training = MaskRCNNTraining(network, n_anchors=64, n_regions=16, n_positive=4, seed=0)
        training.compile(optimizer, loss=dict.fromkeys(LOSSES, mean_loss), jit_compile=False)
        assert_loss_falls(training, *SegmentBatches(annotated, CAMERA, config.data, fit)[0])


def assert_trained(info, task, config, annotated):
    """A model folder is whole and says how it was made."""
    assert info == read_model(info.folder)
    assert (info.name, info.task, info.threshold) == ("model", task, config.threshold)
    assert info.architecture == config.architecture
    assert info.training["exposures"] == list(annotated.expnums)
    assert info.training["steps"] == config.fit.steps
    network = load_network(info)
    assert all(np.isfinite(weight).all() for weight in network.get_weights())
    assert [int(row["step"]) for row in losses(info.folder)] == list(range(2, config.fit.steps + 1, 2))


def test_training_a_screen_writes_a_model_that_loads(whole, annotated, configs):
    assert_trained(whole, "screen", configs["screen"], annotated)


@pytest.mark.slow
def test_training_a_segmenter_in_mixed_precision_writes_a_model_that_loads(annotated, configs, tmp_path):
    config = replace(configs["segment"], fit=replace(configs["segment"].fit, precision="mixed_bfloat16"))
    info = train("segment", config, annotated, CAMERA, tmp_path / "model")
    assert_trained(info, "segment", config, annotated)
    assert {f"{name}_loss" for name in LOSSES} <= set(losses(tmp_path / "model")[0])
    assert keras.mixed_precision.dtype_policy().name == "float32"


def test_killing_and_resuming_changes_nothing(whole, annotated, configs, tmp_path, monkeypatch):
    revive = kill_at(monkeypatch, epoch=1)
    with pytest.raises(Killed):
        train("screen", configs["screen"], annotated, CAMERA, tmp_path / "killed")
    assert not (tmp_path / "killed" / "model.toml").exists()
    revive()
    resumed = train("screen", configs["screen"], annotated, CAMERA, tmp_path / "killed")
    for ours, theirs in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)  # float16 and the order of sums
    assert losses(tmp_path / "killed") == losses(whole.folder)


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


def test_a_kill_after_the_last_step_costs_no_training(annotated, configs, tmp_path, monkeypatch):
    def dying(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "write_model", dying)
        with pytest.raises(Killed):
            train("screen", configs["screen"], annotated, CAMERA, tmp_path)
    before = losses(tmp_path)
    info = train("screen", configs["screen"], annotated, CAMERA, tmp_path)
    assert losses(tmp_path) == before
    assert load_network(info)


def test_a_torn_checkpoint_gives_way_to_the_one_before(annotated, configs, tmp_path, monkeypatch):
    longer = replace(configs["screen"], fit=replace(configs["screen"].fit, steps=6))
    revive = kill_at(monkeypatch, epoch=2)
    with pytest.raises(Killed):
        train("screen", longer, annotated, CAMERA, tmp_path)
    revive()
    torn = tmp_path / "checkpoint" / "state" / "latest.weights.h5"
    torn.write_bytes(torn.read_bytes()[:1000])
    assert train("screen", longer, annotated, CAMERA, tmp_path).training["steps"] == 6


def test_a_finished_training_is_not_repeated(whole, annotated, configs, monkeypatch, caplog):
    assert {path.name for path in whole.folder.joinpath("checkpoint").iterdir()} == {"training.json", "finished"}
    monkeypatch.setattr(fit_module, "build_network", None)
    with caplog.at_level(logging.INFO, logger="cascade.training"):
        assert train("screen", configs["screen"], annotated, CAMERA, whole.folder) == whole
    assert "already trained; delete" in caplog.text


def test_the_checkpoint_of_another_configuration_is_refused(annotated, configs, tmp_path, monkeypatch):
    kill_at(monkeypatch, epoch=0)
    with pytest.raises(Killed):
        train("screen", configs["screen"], annotated, CAMERA, tmp_path)
    other = replace(configs["screen"], text="another")
    with pytest.raises(
        ConfigError, match="holds the checkpoint of another configuration; choose another --out or delete"
    ):
        train("screen", other, annotated, CAMERA, tmp_path)
    with pytest.raises(ConfigError, match="holds the checkpoint of another configuration"):
        train("screen", configs["screen"], annotated.select([0]), CAMERA, tmp_path)


def test_an_unknown_precision_is_an_error_and_leaves_the_policy(annotated, configs, tmp_path):
    wrong = replace(configs["screen"], fit=replace(configs["screen"].fit, precision="float7"))
    with pytest.raises(ConfigError, match="precision: expected a Keras dtype policy, got 'float7'"):
        train("screen", wrong, annotated, CAMERA, tmp_path)
    assert keras.mixed_precision.dtype_policy().name == "float32"


def test_configuration_of_the_other_task_is_refused(annotated, configs, tmp_path):
    with pytest.raises(ModelError, match="expected a network to screen, got architecture 'mask_rcnn', one to segment"):
        train("screen", configs["segment"], annotated, CAMERA, tmp_path / "model")


def test_model_that_was_not_trained_there_is_not_overwritten(annotated, configs, tmp_path):
    (tmp_path / "model.toml").write_text("precious")
    with pytest.raises(ConfigError, match="holds a model that was not trained here; choose another --out"):
        train("screen", configs["screen"], annotated, CAMERA, tmp_path)
    assert (tmp_path / "model.toml").read_text() == "precious"


def test_steps_and_loss_are_reported(configs, tmp_path):
    told = []
    progress = fit_module._Progress(
        tmp_path / "losses.csv", _NoBatches(), configs["screen"].fit, lambda *a: told.append(a)
    )
    progress.on_epoch_end(0, {"loss": 0.5})
    progress.on_epoch_end(1, {"loss": 0.25})
    assert told == [(2, "loss 0.500"), (2, "loss 0.250")]


def test_finished_training_reports_all_its_steps(whole, annotated, configs):
    told = []
    train("screen", configs["screen"], annotated, CAMERA, whole.folder, on_steps=lambda *a: told.append(a))
    assert told == [(4, "trained before")]
