from pathlib import Path

import pytest

from cascade.errors import ConfigError
from cascade.nets.presets import PRESETS
from cascade.training.config import data_root, read_config

TEXT = """
threshold = 0.5
[architecture]
name = "screen_cnn"
[data]
images = "i"
annotations = "a"
clean_share = 0.25
warp_share = 0
[fit]
steps = 10
batch = 2
learning_rate = 1e-3
weight_decay = 0
precision = "float32"
seed = 1
"""


def read(tmp_path, text):
    path = tmp_path / "train.toml"
    path.write_text(text)
    return read_config(path)


def test_a_configuration_says_what_its_file_says(tmp_path):
    config = read(tmp_path, TEXT)
    assert config.threshold == 0.5
    assert config.architecture == {"name": "screen_cnn"}
    assert config.data.clean_share == 0.25
    assert config.fit.steps == 10
    assert config.fit.weight_decay == 0
    assert config.text == TEXT


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[1].glob("models/*/train.toml")), ids=lambda p: p.parent.name
)
def test_configurations_of_the_zoo_are_sound(path):
    assert read_config(path).architecture["name"]


def test_a_preset_can_be_named_and_changed(tmp_path):
    config = read(tmp_path, TEXT.replace('name = "screen_cnn"', 'preset = "segment-lite"\nn_proposals = 7'))
    assert config.architecture == {**PRESETS["segment-lite"], "n_proposals": 7}


def test_an_unknown_preset_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"\[architecture\]: preset: expected one of screen, .*, got 'yolo'"):
        read(tmp_path, TEXT.replace('name = "screen_cnn"', 'preset = "yolo"'))


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the training configuration: No such file"):
        read_config(tmp_path / "train.toml")


def test_anything_but_toml_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.toml: expected TOML: "):
        read(tmp_path, "threshold = ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("threshold = 0.5", "", "expected the keys architecture, data, fit, threshold, got architecture, data, fit$"),
        ("threshold = 0.5", "threshold = 0.5\nx = 1", "got architecture, data, fit, threshold, x"),
        ("threshold = 0.5", 'threshold = "high"', "threshold: expected float, got 'high'"),
        ("threshold = 0.5", "threshold = true", "threshold: expected float, got True"),
        ("threshold = 0.5", "threshold = 1.5", r"threshold: expected a number in \[0, 1\], got 1.5"),
        ("threshold = 0.5", "threshold = nan", r"threshold: expected a number in \[0, 1\], got nan"),
        ('[architecture]\nname = "screen_cnn"', "architecture = 3", "architecture: expected a table, got 3"),
        ('images = "i"', "", r"\[data\]: expected the keys annotations, clean_share, images, warp_share, got "),
        ('images = "i"', "images = 3", r"\[data\]: images: expected str, got 3"),
        ("clean_share = 0.25", "clean_share = -1", r"\[data\]: clean_share: expected a number in \[0, 1\], got -1"),
        ("steps = 10", "steps = 1.5", r"\[fit\]: steps: expected int, got 1.5"),
        ("steps = 10", "steps = true", r"\[fit\]: steps: expected int, got True"),
        ("steps = 10", "steps = 0", r"\[fit\]: steps: expected a number in \[1, inf\], got 0"),
        ("batch = 2", "batch = 0", r"\[fit\]: batch: expected a number in \[1, inf\], got 0"),
        ("seed = 1", "seed = -1", r"\[fit\]: seed: expected a number in \[0, 4294967295\], got -1"),
    ],
)
def test_a_key_that_makes_no_sense_is_an_error(tmp_path, old, new, message):
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, TEXT.replace(old, new))


def test_data_lie_under_the_folder_that_the_variable_names(monkeypatch):
    monkeypatch.setenv("CASCADE_DATA", "/somewhere")
    assert data_root() == Path("/somewhere")
    monkeypatch.delenv("CASCADE_DATA")
    assert data_root() == Path("../shared/data")
