from pathlib import Path

import pytest

from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError
from cascade.networks.nets.presets import PRESETS
from cascade.training.config import RealConfig, SeasonConfig, data_root, read_config

HEAD = """
threshold = 0.5
[architecture]
name = "screen_cnn"
"""
REAL = """
[real]
images = "i"
annotations = "a"
share = 0.5
clean_share = 0.25
injected_share = 0.25
warp_share = 0
"""
SEASON = """
[season]
n_exposures = 100
ghosted_share = 0.65
seed = 3
"""
FIT = """
[fit]
steps = 10
batch = 2
learning_rate = 1e-3
weight_decay = 0
average = 0.995
validate_every = 1000
patience = 3
precision = "float32"
seed = 1
"""
TEXT = HEAD + REAL + SEASON + FIT


def read(tmp_path, text):
    path = tmp_path / "train.toml"
    path.write_text(text)
    return read_config(path)


def test_a_configuration_says_what_its_file_says(tmp_path):
    config = read(tmp_path, TEXT)
    assert (config.threshold, config.semantic) == (0.5, 0.5)
    assert config.architecture == {"name": "screen_cnn"}
    assert config.real == RealConfig("i", "a", 0.5, 0.25, 0.25, 0)
    assert config.season == SeasonConfig(100, 0.65, 3)
    assert config.season.drawn == {"n_exposures": 100, "ghosted_share": 0.65, "seed": 3}
    assert (config.fit.steps, config.fit.average, config.fit.validate_every, config.fit.patience) == (
        10,
        0.995,
        1000,
        3,
    )
    assert config.text == TEXT


def test_the_level_of_the_map_may_be_said(tmp_path):
    assert read(tmp_path, TEXT.replace("threshold = 0.5", "threshold = 0.5\nsemantic = 0.35")).semantic == 0.35


def test_classes_may_be_named_and_are_all_else(tmp_path):
    assert read(tmp_path, TEXT).classes == tuple(Artifact)
    assert read(tmp_path, 'classes = ["rays", "bright"]' + TEXT).classes == (Artifact.RAYS, Artifact.BRIGHT)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("[]", "train.toml: key classes: expected artifact classes, each once, got ''"),
        ('"rays"', "key classes: expected a list, got 'rays'"),
        ('["rays", "rays"]', "key classes: expected artifact classes, each once, got 'rays, rays'"),
        ('["comet"]', "train.toml: key classes: artifact class: expected one of bright, .*got 'comet'"),
    ],
)
def test_classes_that_make_no_sense_are_an_error(tmp_path, classes, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, f"classes = {classes}{TEXT}")


def test_real_exposures_alone_are_enough(tmp_path):
    real = REAL.replace("share = 0.5", "share = 1", 1).replace("injected_share = 0.25", "injected_share = 0")
    config = read(tmp_path, HEAD + real + FIT.replace("validate_every = 1000", "validate_every = 0"))
    assert config.season is None
    assert config.real.share == 1


def test_synthetic_exposures_alone_are_enough(tmp_path):
    config = read(tmp_path, HEAD + SEASON + FIT)
    assert config.real is None
    assert config.season.n_exposures == 100


MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(MODELS.glob("*/*.toml")) if path.name != "model.toml"],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_configurations_of_the_zoo_are_sound(path):
    assert read_config(path).architecture["name"]


def test_a_preset_can_be_named_and_changed(tmp_path):
    config = read(tmp_path, TEXT.replace('name = "screen_cnn"', 'preset = "segment-lite"\nn_proposals = 7'))
    assert config.architecture == {**PRESETS["segment-lite"], "n_proposals": 7}


@pytest.mark.parametrize(("preset", "got"), [('"yolo"', "'yolo'"), ("[1]", "a list of 1")])
def test_an_unknown_preset_is_an_error(tmp_path, preset, got):
    with pytest.raises(ConfigError, match=rf"key architecture\.preset: expected one of screen, .*, got {got}"):
        read(tmp_path, TEXT.replace('name = "screen_cnn"', f"preset = {preset}"))


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the training configuration: No such file"):
        read_config(tmp_path / "train.toml")


def test_line_ends_do_not_make_another_training(tmp_path):
    path = tmp_path / "train.toml"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    assert read_config(path).text == TEXT


def test_anything_but_toml_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.toml: expected TOML: "):
        read(tmp_path, "threshold = ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("threshold = 0.5", "", r"key threshold: missing; expected a number in \[0, 1\]"),
        ("threshold = 0.5", "threshold = 0.5\nx = 1", "key x: unknown; expected one of architecture, threshold, "),
        ("threshold = 0.5", 'threshold = 0.5\ntext = ""', "key text: unknown; expected one of architecture, "),
        (REAL + SEASON, "", r"train\.toml: expected one or both of the tables real and season, got neither"),
        (FIT, "", "key fit: missing; expected a table"),
        ("threshold = 0.5", 'threshold = "high"', r"threshold: expected a number in \[0, 1\], got 'high'"),
        ("threshold = 0.5", "threshold = true", r"threshold: expected a number in \[0, 1\], got True"),
        ("threshold = 0.5", "threshold = 1.5", r"threshold: expected a number in \[0, 1\], got 1.5"),
        ("threshold = 0.5", "threshold = nan", r"threshold: expected a number in \[0, 1\], got nan"),
        ("threshold = 0.5", "threshold = 0.5\nsemantic = 1.5", r"semantic: expected a number in \[.*, 1\], got 1.5"),
        ("threshold = 0.5", "threshold = 0.5\nsemantic = true", r"semantic: expected a number in \[.*, 1\], got True"),
        ('[architecture]\nname = "screen_cnn"', "architecture = 3", "key architecture: expected a table, got 3"),
        (REAL, "real = 3\n", "key real: expected a table, got 3"),
        ('images = "i"', "", "key real.images: missing; expected a string"),
        ('images = "i"', "images = 3", "key real.images: expected a string, got 3"),
        ("clean_share = 0.25", "clean_share = -1", r"key real.clean_share: expected a number in \[0, 1\], got -1"),
        ("warp_share = 0", "warp_share = 2", r"key real.warp_share: expected a number in \[0, 1\], got 2"),
        ("injected_share = 0.25", "injected_share = 0.8", r"key real: expected clean_share \+ injected_share of 1"),
        (SEASON, "", r"key real: expected share = 1 and injected_share = 0 without a \[season\]"),
        ("n_exposures = 100", "n_exposures = 0", r"key season.n_exposures: expected an integer in \[1, inf\], got 0"),
        ("n_exposures = 100", "n_exposures = 1.5", r"key season.n_exposures: expected an integer in .* got 1.5"),
        ("ghosted_share = 0.65", "", "key season.ghosted_share: missing; expected a number"),
        ("steps = 10", "steps = 1.5", r"key fit.steps: expected an integer in \[1, inf\], got 1.5"),
        ("steps = 10", "steps = true", r"key fit.steps: expected an integer in \[1, inf\], got True"),
        ("steps = 10", "steps = 0", r"key fit.steps: expected an integer in \[1, inf\], got 0"),
        ("batch = 2", "batch = 0", r"key fit.batch: expected an integer in \[1, inf\], got 0"),
        ("average = 0.995", "average = 1", r"key fit.average: expected a number in \[0, 0.99999\], got 1"),
        ("validate_every = 1000", "validate_every = -1", r"key fit.validate_every: expected an integer in \[0, inf\]"),
        ("patience = 3", "patience = 0", r"key fit.patience: expected an integer in \[1, inf\], got 0"),
        ("seed = 1", "seed = -1", r"key fit.seed: expected an integer in \[0, 4294967295\], got -1"),
    ],
)  # fmt: skip
def test_a_key_that_makes_no_sense_is_an_error(tmp_path, old, new, message):
    assert old in TEXT
    text = TEXT.replace(old, new)
    if new == "real = 3\n":
        text = new + text
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize("change", [("share = 0.5", "share = 1"), ("injected_share = 0.25", "injected_share = 0")])
def test_synthetic_artifacts_need_a_season(tmp_path, change):
    text = (HEAD + REAL + FIT).replace(*change, 1)
    with pytest.raises(ConfigError, match=r"key real: expected share = 1 and injected_share = 0 without a \[season\]"):
        read(tmp_path, text)


def test_validation_needs_a_season(tmp_path):
    real = REAL.replace("share = 0.5", "share = 1", 1).replace("injected_share = 0.25", "injected_share = 0")
    with pytest.raises(ConfigError, match=r"key fit.validate_every: expected 0 without a \[season\], got 1000"):
        read(tmp_path, HEAD + real + FIT)


def test_data_lie_under_the_folder_that_the_variable_names(monkeypatch):
    monkeypatch.setenv("CASCADE_DATA", "/somewhere")
    assert data_root() == Path("/somewhere")
    monkeypatch.delenv("CASCADE_DATA")
    assert data_root() == Path("../shared/data")
