import json

import h5py
import keras
import numpy as np
import pytest
from fakes import slim_matterport
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.networks.engines import select
from cascade.networks.engines.parity import Parity
from cascade.networks.models import build_network, write_model
from cascade.networks.nets.presets import PRESETS

pytestmark = pytest.mark.slow


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def slim(monkeypatch):
    slim_matterport(monkeypatch, 4)


@pytest.fixture
def screen(tiny_architectures, tmp_path):
    """A tiny screen in a folder of models."""
    keras.utils.set_random_seed(5)
    architecture = tiny_architectures["screen"]
    write_model(
        tmp_path / "zoo/tiny", build_network(architecture), task="screen", architecture=architecture, threshold=0.5,
        training={},
    )  # fmt: skip
    return tmp_path / "zoo"


def test_presets_are_printed_as_a_table():
    result = invoke("models", "presets")
    assert result.exit_code == 0, result.output
    rows = [line.split("|")[1:-1] for line in result.output.splitlines()[2:]]
    assert [row[0].strip(" `") for row in rows] == list(PRESETS)
    cost = {row[0].strip(" `"): (float(row[2]), float(row[3])) for row in rows}
    assert cost["segment-lite"][1] <= 15
    assert cost["mrcnn-r101"] == pytest.approx((63.7, 770), abs=1)


def test_weights_are_converted_and_back(slim, tmp_path):
    keras.utils.set_random_seed(5)
    architecture = {**PRESETS["mrcnn-r101"], "size": 64, "channels": 3}
    write_model(
        tmp_path / "zoo/deep", build_network(architecture), task="segment", architecture=architecture, threshold=0.7,
        training={}, half=False,
    )  # fmt: skip
    weights = tmp_path / "mask_rcnn.h5"
    back = invoke("models", "convert", "deep", "--models-dir", tmp_path / "zoo", "--out", weights)
    assert back.exit_code == 0, back.output
    assert "235 layers, for mrcnn's load_weights(by_name=True)" in back.output
    with h5py.File(weights, "r+") as file:
        file.create_dataset("optimizer/momentum:0", data=np.zeros(2, np.float32))
    there = invoke("models", "convert", weights, "--out", tmp_path / "again", "--size", 64, "--threshold", 0.8)
    assert there.exit_code == 0, there.output
    assert "in the file, not in the network: optimizer" in there.output
    assert "ResNet-101, weights of 235 layers converted" in there.output
    assert (tmp_path / "again/model.toml").read_text().count("0.8") == 2  # what is kept, and what is looked at


def test_new_heads_are_named(slim, tmp_path):
    keras.utils.set_random_seed(5)
    architecture = {**PRESETS["mrcnn-r50"], "size": 64}
    write_model(
        tmp_path / "zoo/deep", build_network(architecture), task="segment", architecture=architecture, threshold=0.7,
        training={},
    )  # fmt: skip
    invoke("models", "convert", "deep", "--models-dir", tmp_path / "zoo", "--out", tmp_path / "x.h5")
    result = invoke("models", "convert", tmp_path / "x.h5", "--out", tmp_path / "y", "--size", 64, "--new-heads")
    assert "newly initialised: mrcnn_class_logits, mrcnn_bbox_fc, mrcnn_mask" in result.output


@pytest.mark.parametrize(
    ("options", "message"), [(("--size", 100), "size: expected a multiple of 64, got 100"),
                             (("--channels", 2), "channels: expected 1 or 3, got 2")],
)  # fmt: skip
def test_conversion_refuses_what_the_graph_cannot_have(options, message, slim, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("conv1/conv1/bias:0", data=np.zeros(2, np.float32))
    result = invoke("models", "convert", tmp_path / "x.h5", "--out", tmp_path / "y", *options)
    assert result.exit_code == 1
    assert message in result.output


def test_verifying_compares_the_engines(screen):
    result = invoke("models", "verify", "tiny", "--models-dir", screen)
    assert result.exit_code == 0, result.output
    assert "tiny: openvino f32 against Keras: 8 compared, 0 unmatched" in result.output


def test_verifying_fails_loudly_where_engines_disagree(screen, monkeypatch):
    monkeypatch.setattr(select, "compare", lambda *_: Parity(8, 1, 1.0, 0.3))
    result = invoke("models", "verify", "tiny", "--models-dir", screen)
    assert result.exit_code == 1
    assert "differ from Keras: 8 compared, 1 unmatched" in result.output


def test_verifying_says_that_it_could_not_compare(screen, monkeypatch):
    monkeypatch.setattr("cascade.networks.engines.has_openvino", lambda: False)
    result = invoke("models", "verify", "tiny", "--models-dir", screen)
    assert result.exit_code == 0
    assert "openvino is not installed: engines not compared" in result.output


def test_a_run_notes_the_engine_that_was_asked_for(screen, tiny_architectures, tmp_path):
    keras.utils.set_random_seed(5)
    architecture = tiny_architectures["segment"]
    write_model(
        screen / "seg", build_network(architecture), task="segment", architecture=architecture, threshold=0.5,
        training={},
    )  # fmt: skip
    np.save(tmp_path / "x_night.npy", np.full((2, 400, 400), 50, np.uint8))
    words = ("run", tmp_path / "x_night.npy", "--out", tmp_path / "RUN", "--screen", "tiny", "--segment", "seg",
             "--models-dir", screen, "--quiet")  # fmt: skip
    assert invoke(*words, "--engine", "cray").exit_code == 1
    assert not (tmp_path / "RUN").exists()
    result = invoke(*words, "--engine", "keras")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "RUN/run.json").read_text())["details"]["engine"] == "keras"
