"""`cascade train` on synthetic exposures alone."""

from __future__ import annotations

import pytest
import tomli_w
from trainings import shorten_epochs
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.networks.model_info import read_model
from cascade.networks.models import load_network

pytestmark = pytest.mark.slow

FIT = {
    "steps": 2, "batch": 2, "learning_rate": 1e-3, "weight_decay": 0.0, "average": 0.5, "validate_every": 2,
    "patience": 1, "precision": "float32", "seed": 1,
}  # fmt: skip
SEASON = {"n_exposures": 8, "ghosted_share": 0.5, "seed": 3}
REAL = {
    "images": "images", "annotations": "annotations", "share": 1.0, "clean_share": 0.5, "injected_share": 0.0,
    "warp_share": 0.5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    shorten_epochs(monkeypatch)


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def config(tmp_path, tiny_architectures):
    """Write a configuration; None leaves a table out."""

    def write(kind="screen", name="train.toml", **tables):
        content = {
            "threshold": 0.5, "architecture": tiny_architectures[kind], "season": SEASON, "fit": FIT, **tables,
        }  # fmt: skip
        path = tmp_path / name
        path.write_text(tomli_w.dumps({key: value for key, value in content.items() if value is not None}))
        return path

    return write


def test_a_screen_is_trained_on_synthetic_exposures_alone(config, season_folder, tmp_path):
    out = tmp_path / "first"
    result = invoke("train", "screen", config(), "--season", season_folder, "--out", out, "--quiet")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{out}: model first, 8 exposures, ")
    info = read_model(out)
    assert info.training["season"] == SEASON
    assert "exposures" not in info.training
    assert load_network(info)
    again = invoke("train", "screen", config(name="more.toml", fit={**FIT, "seed": 2}), "--season", season_folder,
                   "--out", tmp_path / "second", "--start", out, "--quiet")  # fmt: skip
    assert again.exit_code == 0, again.output
    assert read_model(tmp_path / "second").training["start"] == "first"


def test_progress_is_shown(config, season_folder, tmp_path):
    result = invoke("train", "screen", config(), "--season", season_folder, "--out", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert "2 of 2 steps, loss " in result.output


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ({}, (), "expected synthetic exposures; give their folder, from `cascade simulate`, with --season"),
        (
            {"season": {**SEASON, "seed": 4}},
            ("--season", "SEASON"),
            "make it with `cascade simulate 8 --seed 4 --ghosted-share 0.5 --out SEASON`",
        ),
        ({}, ("--season", "NOWHERE"), "NOWHERE/season.json: expected a synthetic season; make it with"),
        ({}, ("--season", "SEASON", "--start", "none"), "model 'none': not found"),
        ({}, ("--season", "SEASON", "--cross-validate"), "expected a configuration with [real] exposures"),
        (
            {"season": None, "real": REAL, "fit": {**FIT, "validate_every": 0}},
            (),
            "expected a folder with VIA annotations",
        ),
        ({"season": None}, (), "one or both of the tables real and season"),
    ],
)
def test_what_cannot_be_trained_is_one_clear_line(
    tables, options, message, config, season_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_DATA", str(tmp_path))
    words = [str(season_folder) if word == "SEASON" else word for word in options]
    result = invoke("train", "screen", config(**tables), "--out", tmp_path / "m", *words, "--quiet")
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("error: ")
    assert message.replace("SEASON", str(season_folder)) in line
    assert not (tmp_path / "m" / "model.toml").exists()


def test_a_start_that_fits_nowhere_is_one_clear_line(config, season_folder, tmp_path):
    first = invoke("train", "screen", config(), "--season", season_folder, "--out", tmp_path / "screen", "--quiet")
    assert first.exit_code == 0, first.output
    result = invoke("train", "segment", config("semantic"), "--season", season_folder, "--out", tmp_path / "m",
                    "--start", tmp_path / "screen", "--quiet")  # fmt: skip
    assert result.exit_code == 1
    assert "no part matches the network to be trained" in result.output
