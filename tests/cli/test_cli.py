from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import cascade
from cascade.camera import Camera
from cascade.cli.app import app
from cascade.core.artifact import Artifact
from cascade.networks.model_info import ModelInfo
from cascade.networks.models import build_network, write_model
from cascade.runs.run import open_run
from cascade.runs.tables import SCHEMAS
from cascade.simulate import simulate_exposure
from cascade.veto import read_des


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, tiny_architectures) -> Path:
    """Both models, small and untrained; the screen flags everything, the segmenter keeps everything."""
    import keras

    folder = tmp_path_factory.mktemp("zoo")
    keras.utils.set_random_seed(1)
    for task, name in (("screen", "screen-v1"), ("segment", "segment-lite-v1")):
        architecture = tiny_architectures[task]
        network = build_network(architecture)
        write_model(folder / name, network, task=task, architecture=architecture, threshold=0.0, training={})
    return folder


@pytest.fixture(scope="module")
def previews(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("previews")
    for n in range(6):
        artifacts = (Artifact.BRIGHT,) if n % 2 else ()
        image = simulate_exposure(artifacts, Camera.decam(), np.random.default_rng(n))
        Image.fromarray(image).save(folder / f"D{700001 + n:08d}.png")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, zoo, previews) -> Path:
    """An uninterrupted run over all previews in three batches."""
    out = tmp_path_factory.mktemp("finished") / "run"
    result = invoke("run", previews, "--out", out, "--models-dir", zoo, "--batch", 2, "--quiet")
    assert result.exit_code == 0, result.output
    return out


def run_command(previews: Path, out: Path, zoo: Path) -> list[object]:
    options = ("--out", out, "--models-dir", zoo, "--batch", "2", "--quiet")
    return [sys.executable, "-m", "cascade", "run", previews, *options]


def tables(run: Path) -> dict[str, list[dict[str, object]]]:
    return {name: open_run(run).table(name).to_pylist() for name in SCHEMAS}


@pytest.mark.parametrize(
    "command",
    [
        (), ("run",), ("status",), ("verify",), ("preview",), ("veto",), ("export",), ("train",), ("calibrate",),
        ("evaluate",), ("agreement",), ("split",), ("demo",), ("models",),
    ],
)  # fmt: skip
def test_every_command_has_help(command):
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output
    if command and command != ("models",):
        assert "Example: cascade" in result.output


def test_version_is_that_of_the_installed_package():
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.output == f"cascade {metadata.version('ghost-cascade')}\n"
    assert cascade.__version__ == metadata.version("ghost-cascade")


def test_run_fills_every_table_and_the_masks(finished):
    exposures = tables(finished)["exposures"]
    assert [row["expnum"] for row in exposures] == list(range(700001, 700007))
    assert all(row["flagged"] for row in exposures)
    masks = open_run(finished).masks
    for row in exposures:
        assert bool(np.any(masks[row["exposure"]])) == (row["status"] == "ghosted")


def test_summary_line_counts(zoo, previews, tmp_path):
    result = invoke("run", previews, "--out", tmp_path / "run", "--models-dir", zoo, "--quiet")
    assert "6 exposures, 6 flagged" in result.output
    again = invoke("run", previews, "--out", tmp_path / "run", "--models-dir", zoo, "--quiet")
    assert "6 exposures (6 done before)" in again.output


def test_dask_and_serial_give_equal_tables_and_masks(finished, zoo, previews, tmp_path):
    result = subprocess.run(
        [*run_command(previews, tmp_path / "run", zoo), "--workers", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert tables(tmp_path / "run") == tables(finished)
    np.testing.assert_array_equal(open_run(tmp_path / "run").masks[:], open_run(finished).masks[:])


def test_killed_run_is_finished_without_doing_batches_again(finished, zoo, previews, tmp_path):
    out = tmp_path / "run"
    command = run_command(previews, out, zoo)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    ledger = out / "ledger"
    while process.poll() is None and not list(ledger.glob("batch-*.json")):
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in ledger.glob("batch-*.json")}
    assert done
    result = invoke(*command[3:])
    assert result.exit_code == 0, result.output
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert tables(out) == tables(finished)


def test_every_exposure_is_segmented_without_a_screen(zoo, previews, tmp_path):
    result = invoke("run", previews, "--out", tmp_path / "run", "--models-dir", zoo, "--no-screen", "--quiet")
    assert result.exit_code == 0, result.output
    assert all(row["flagged"] and row["screen_score"] is None for row in tables(tmp_path / "run")["exposures"])


def test_bad_inputs_become_failures_and_the_rest_is_processed(zoo, previews, tmp_path):
    night = tmp_path / "night"
    night.mkdir()
    good = next(iter(sorted(previews.glob("*.png"))))
    with Image.open(good) as image:
        image.save(night / "D00000001.jpg")
    jpeg = (night / "D00000001.jpg").read_bytes()
    (night / "D00000002.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (night / "D00000003.jpg").write_text("hello")
    Image.new("L", (100, 100)).save(night / "D00000004.jpg")
    (night / "D00000005.jpg").touch()
    Image.new("RGB", (640, 480), "red").save(night / "D00000006.jpg")
    result = invoke("run", night, "--out", tmp_path / "run", "--models-dir", zoo, "--quiet")
    assert result.exit_code == 0, result.output
    assert "6 exposures" in result.output
    assert "5 failed" in result.output
    found = tables(tmp_path / "run")
    statuses = {row["expnum"]: row["status"] for row in found["exposures"]}
    assert [expnum for expnum, status in statuses.items() if status == "failed"] == [2, 3, 4, 5, 6]
    errors = {row["expnum"]: row["error"] for row in found["failures"]}
    assert list(errors) == [2, 3, 4, 5, 6]
    assert "truncated or damaged JPEG" in errors[2]
    assert "expected a JPEG or PNG image, got a file that starts with b'hello'" in errors[3]
    assert "expected a 400x400 focal-plane image, got 100x100" in errors[4]
    assert "got an empty file" in errors[5]
    assert "expected a 400x400 focal-plane image, got 640x480" in errors[6]


def test_run_json_names_the_inputs(finished, previews):
    import json

    content = json.loads((finished / "run.json").read_text())
    assert content["details"] == {"inputs": [str(previews)], "folder": str(Path.cwd()), "engine": "auto"}
    assert content["versions"]["python"]


def test_network_that_cannot_be_loaded_costs_no_old_run(finished, zoo, previews, tmp_path):
    import shutil

    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(zoo, tmp_path / "zoo")
    description = tmp_path / "zoo" / "segment-lite-v1" / "model.toml"
    description.write_text(description.read_text().replace("mask_depth = 1", "mask_depth = 2"))
    result = invoke("run", previews, "--out", tmp_path / "run", "--models-dir", tmp_path / "zoo", "--fresh")
    assert result.exit_code == 1
    assert "the weights do not fit" in result.output
    assert tables(tmp_path / "run") == tables(finished)


def test_changed_threshold_of_a_model_is_another_configuration(finished, zoo, previews, tmp_path):
    import shutil

    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(zoo, tmp_path / "zoo")
    description = tmp_path / "zoo" / "segment-lite-v1" / "model.toml"
    description.write_text(description.read_text().replace("score = 0.0", "score = 0.8"))
    result = invoke("run", previews, "--out", tmp_path / "run", "--models-dir", tmp_path / "zoo", "--batch", 2)
    assert result.exit_code == 1
    assert "holds a run of another configuration: expected segment" in result.output


def test_unfinished_run_gives_no_veto_list(finished, tmp_path):
    import shutil

    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "ledger" / "batch-00001.json").unlink()
    result = invoke("veto", tmp_path / "run", "--out", tmp_path / "f.csv")
    assert result.exit_code == 1
    assert "expected a complete run, got 2 of 3 batches; run it to the end" in result.output
    assert not (tmp_path / "f.csv").exists()


def test_veto_says_what_is_not_in_the_list(finished, tmp_path):
    result = invoke("veto", finished, "--format", "des", "--min-area", 0, "--out", tmp_path / "f.txt")
    assert "lines have no date: the inputs give none, a manifest with mjd_obs does" in result.output


@pytest.mark.slow
def test_real_exposures_go_through_the_shipped_models(real_data, tmp_path):
    images = real_data / "des_common_core" / "images"
    result = invoke("run", images, "--out", tmp_path / "run", "--quiet")
    assert result.exit_code == 0, result.output
    exposures = tables(tmp_path / "run")["exposures"]
    assert len(exposures) == 25
    assert all(row["status"] in ("clean", "ghosted") for row in exposures)
    # They were trained on these very exposures, so most must come out; this is no measure of quality.
    assert sum(row["status"] == "ghosted" for row in exposures) >= 15
    result = invoke("veto", tmp_path / "run", "--format", "des", "--out", tmp_path / "f.txt")
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "f.txt").read_text().splitlines()
    assert lines[0] == "#date expnum ccd id ccdnum"
    rows = [line.split(" ") for line in lines if not line.startswith("#")]
    assert all(len(row) == 5 and row[1].isdecimal() and row[3][0] in "NS" and row[4].isdecimal() for row in rows)


def test_veto_list_keeps_what_was_added_by_hand_and_merges_and_compares(finished, tmp_path):
    out = tmp_path / "list.txt"
    words = ("veto", finished, "--format", "des", "--min-area", 0, "--out", out)
    assert invoke(*words).exit_code == 0
    n_ours = read_des(out).num_rows
    with out.open("a") as file:
        file.write("# by eye\n20121101 145507 nan nan 28\n")
    (tmp_path / "bad_expid.txt").write_text("146001 focus test\n")
    result = invoke(*words, "--merge", tmp_path / "bad_expid.txt", "--compare", out)
    assert result.exit_code == 0, result.output
    assert f"{n_ours} CCDs in both, 0 in ours alone, 1 in theirs alone" in result.output
    assert "1 entries of others were kept; 62 entries were merged" in result.output
    listed = read_des(out).to_pylist()
    assert len(listed) == n_ours + 1 + 62
    assert (145507, None) in {(row["expnum"], row["detpos"]) for row in listed}


def test_run_of_another_camera_warns_and_vetoes_its_ccds(zoo, tmp_path):
    from reader_files import write_zarr

    store = write_zarr(tmp_path / "p.zarr", expnum=[1, 2, 3])
    words = ("run", store, "--out", tmp_path / "run", "--models-dir", zoo, "--no-screen", "--quiet")
    result = invoke(*words, "--camera", "lsstcam")
    assert result.exit_code == 0, result.output
    assert "the networks were trained on DECam; expect lower performance on LSSTCam" in result.output
    assert open_run(tmp_path / "run").config.camera == "lsstcam"
    assert "holds a run of another configuration: expected camera 'lsstcam', got 'decam'" in invoke(*words).output
    result = invoke("veto", tmp_path / "run", "--min-area", 0, "--out", tmp_path / "v.csv")
    assert result.exit_code == 0, result.output
    detpos = {row["detpos"] for row in open_run(tmp_path / "run").table("ccds").to_pylist()}
    assert detpos
    assert all(name.startswith("R") for name in detpos)


def test_veto_list_in_every_format(finished, tmp_path):
    labels = ",".join(artifact.label for artifact in Artifact)
    for form in ("csv", "parquet", "des", "fits", "legacy"):
        result = invoke("veto", finished, "--format", form, "--min-area", 0, "--out", tmp_path / form)
        assert result.exit_code == 0, result.output
        assert f"vetoed (min_area=0 classes={labels} min_score=0 min_ccds=1 dead_ccds=out)" in result.output
    touched = {(row["expnum"], row["ccdnum"]) for row in tables(finished)["ccds"] if row["ccdnum"] != 61}
    listed = read_des(tmp_path / "des").to_pylist()
    assert {(row["expnum"], row["ccdnum"]) for row in listed} == touched
    assert touched


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "NOWHERE", "--out", "RUN"), "error: NOWHERE: no such file or folder"),
        (("run", "PREVIEWS", "--out", "RUN", "--screen", "none"), "error: model 'none': not found in ZOO"),
        (
            ("run", "PREVIEWS", "--out", "RUN", "--screen", "segment-lite-v1"),
            "expected one to screen, got one to segment",
        ),
        (("run", "PREVIEWS", "--out", "PREVIEWS"), "expected a run or an empty directory"),
        (("run", "PREVIEWS", "--out", "FINISHED", "--threshold", "0.7"), "holds a run of another configuration"),
        (("veto", "PREVIEWS", "--out", "F"), "expected a run directory, got no run.json in it"),
        (
            ("veto", "FINISHED", "--out", "none/f.txt"),
            "none/f.txt: expected a folder to write into, got none called none",
        ),
        (("run", "PREVIEWS", "--out", "RUN", "--camera", "hsc"), "camera 'hsc': expected one of decam, lsstcam"),
        (("preview", "PREVIEWS", "--out", "P.zarr"), "expected FITS files, found none"),
        (("export", "PREVIEWS", "--format", "via", "--out", "O"), "expected a run directory, got no run.json in it"),
        (("demo", "--out", "PREVIEWS"), "expected a new folder or that of an earlier demo; choose another --out"),
        (("train", "screen", "NOWHERE", "--out", "M"), "NOWHERE: cannot read the training configuration: No such"),
        (("models", "show", "none"), "model 'none': not found"),
        (("models", "show", "screen-v1"), "cannot read the card: No such file"),
        (("models", "verify", "none"), "model 'none': not found"),
    ],
)
def test_wrong_use_is_one_clear_line(words, message, zoo, previews, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = tables(finished)
    names = {"PREVIEWS": str(previews), "FINISHED": str(finished), "ZOO": str(zoo)}
    zoo_option = ("--models-dir", zoo) if words[0] in ("run", "models") else ()
    result = invoke(*(names.get(word, word) for word in words), *zoo_option)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("error: ")
    assert message.replace("ZOO", str(zoo)) in line
    assert tables(finished) == before
    assert not (tmp_path / "RUN").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("run", "a.jpg"),
        ("run", "a.jpg", "--out", "RUN", "--no-screen", "--threshold", "0.5"),
        ("run", "a.jpg", "--out", "RUN", "--workers", "2", "--scheduler", "tcp://somewhere:8786"),
        ("run", "a.jpg", "--out", "RUN", "--batch", "0"),
        ("run", "a.jpg", "--out", "RUN", "--threshold", "2"),
        ("veto", "RUN", "--out", "F", "--classes", "comet"),
        ("veto", "RUN", "--out", "F", "--min-area", "-1"),
        ("veto", "RUN", "--out", "F", "--format", "latex"),
        ("sing",),
    ],
)
def test_bad_usage_exits_with_2(words):
    assert invoke(*words).exit_code == 2


def test_damaged_weights_are_refused_before_anything_is_written(zoo, previews, tmp_path):
    import shutil

    shutil.copytree(zoo, tmp_path / "zoo")
    weights = tmp_path / "zoo" / "segment-lite-v1" / "model.weights.h5"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    result = invoke("run", previews, "--out", tmp_path / "run", "--models-dir", tmp_path / "zoo")
    assert result.exit_code == 1
    assert "expected sha256" in result.output
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback(tmp_path):
    result = invoke("--debug", "veto", tmp_path, "--out", tmp_path / "f")
    assert type(result.exception).__name__ == "StoreError"


def test_models_are_listed_and_verified(zoo):
    listed = invoke("models", "list", "--models-dir", zoo)
    assert "screen-v1" in listed.output
    assert "mask_rcnn" in listed.output
    verified = invoke("models", "verify", "screen-v1", "--models-dir", zoo)
    assert verified.exit_code == 0, verified.output
    assert "1 models verified" in verified.output


def test_demo_leaves_tables_a_list_and_a_picture(zoo, tmp_path, monkeypatch):
    monkeypatch.setenv("CASCADE_MODELS", str(zoo))
    monkeypatch.setattr("cascade.cli.demo._N_EXPOSURES", 4)
    result = invoke("demo", "--out", tmp_path / "demo", "--quiet")
    assert result.exit_code == 0, result.output
    assert "4 exposures, 4 flagged" in result.output
    assert "drawn: 2 ghosted exposures, of which the screen flagged 2" in result.output
    assert "night        exposures by band" in result.output
    assert len(list((tmp_path / "demo" / "previews").glob("*.png"))) == 4
    assert None not in open_run(tmp_path / "demo" / "run").table("exposures")["mjd_obs"].to_pylist()
    assert (tmp_path / "demo" / "report" / "index.html").is_file()
    assert (tmp_path / "demo" / "veto.txt").read_text().startswith("#date expnum ccd id ccdnum\n")
    with Image.open(tmp_path / "demo" / "overview.png") as picture:
        assert picture.width > 800


def test_info_of_a_model_names_its_folder(zoo):
    from cascade.networks.models import find_model

    info = find_model("screen-v1", zoo)
    assert isinstance(info, ModelInfo)
    assert info.folder == zoo / "screen-v1"
