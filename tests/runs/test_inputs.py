"""Tests of cascade.runs.inputs: pictures are found from any folder, and where they were moved."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.core.errors import InputError
from cascade.pages.report import write_report
from cascade.pages.review import ReviewSession
from cascade.pipeline.season import run_stub
from cascade.runs.inputs import InputPlaces, input_details
from cascade.runs.previews import RunPreviews
from cascade.runs.run import Run, open_run

N = 6


def picture(k: int) -> np.ndarray:
    """Every fourth has a ghost to the stub."""
    image = np.full((400, 400), 50, np.uint8)
    image[0, 0], image[1, 1] = 200 if k % 4 == 0 else 20, k
    return image


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    for k in range(N):
        Image.fromarray(picture(k)).save(folder / f"D{700000 + k:08d}.png")


def write_folder(place: Path) -> list[str]:
    write_pictures(place / "in")
    return ["in"]


def write_npy(place: Path) -> list[str]:
    np.save(place / "x.npy", np.stack([picture(k) for k in range(N)]))
    return ["x.npy"]


def write_store(place: Path) -> list[str]:
    group = zarr.create_group(place / "p.zarr")
    group.create_array("preview", data=np.stack([picture(k) for k in range(N)]), chunks=(1, 400, 400))
    return ["p.zarr"]


def write_zip(place: Path) -> list[str]:
    write_pictures(place / "packed")
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        for file in sorted((place / "packed").iterdir()):
            archive.write(file, f"night/{file.name}")
    return ["a.zip"]


def write_manifest(place: Path) -> list[str]:
    write_pictures(place / "pictures")
    rows = "".join(f"pictures/D{700000 + k:08d}.png,{700000 + k}\n" for k in range(N))
    (place / "m.csv").write_text(f"path,expnum\n{rows}")
    return ["m.csv"]


def write_files(place: Path) -> list[str]:
    write_pictures(place / "in")
    return [f"in/D{700000 + k:08d}.png" for k in range(N)]


def write_nights(place: Path) -> list[str]:
    write_pictures(place / "n1")
    write_pictures(place / "n2")
    return ["n1", "n2"]


KINDS = {
    "folder": write_folder,
    "pattern": lambda place: [f"{write_folder(place)[0]}/*.png"],
    "files": write_files,
    "npy": write_npy,
    "zarr": write_store,
    "zip": write_zip,
    "manifest": write_manifest,
    "nights": write_nights,
    "above": lambda place: [f"../{place.name}/{write_folder(place)[0]}"],
}


@pytest.fixture(params=KINDS)
def run(request, tmp_path, monkeypatch) -> Run:
    """A run of relative inputs, made in tmp_path/here; the working folder is another one now."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    made = run_stub(KINDS[request.param](here), "RUN", batch_size=4)
    monkeypatch.chdir(elsewhere)
    (here / "RUN").rename(tmp_path / "RUN")
    return open_run(tmp_path / "RUN" if made.path == Path("RUN") else made.path)


def check_pictures(previews: RunPreviews, run: Run) -> None:
    """Every exposure has its own picture."""
    assert previews.available
    table = run.table("exposures")
    for exposure, path in zip(table["exposure"].to_pylist(), table["path"].to_pylist(), strict=True):
        image = previews.read(exposure)
        assert image is not None, path
        assert image[1, 1] == exposure % N


def test_relative_inputs_are_found_from_another_folder(run):
    details = json.loads((run.path / "run.json").read_text())["details"]
    assert all(Path(name).is_absolute() for name in details["inputs"])
    check_pictures(RunPreviews(run), run)
    assert write_report(run, Path("report")) > 0


@pytest.mark.parametrize("as_named", [False, True])
def test_moved_inputs_are_found_where_they_are_said_to_be(run, tmp_path, as_named):
    (tmp_path / "here").rename(tmp_path / "moved")
    assert not RunPreviews(run).available
    places = ["../moved/"]
    if as_named:  # by what they are themselves
        names = json.loads((run.path / "run.json").read_text())["details"]["inputs"]
        if any("*" in name or name.endswith(".png") for name in names):
            names = [str(Path(name).parent) for name in names]
        places = sorted({str(tmp_path / "moved" / Path(name).name) for name in names})
    check_pictures(RunPreviews(run, places), run)
    assert write_report(run, Path("report"), inputs=places) > 0
    assert ReviewSession(run, places).queue("me")["previews"]


def test_place_without_the_inputs_is_an_error(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: expected .*"):
        RunPreviews(run, [tmp_path / "empty"])
    with pytest.raises(InputError, match=r"none: expected the inputs of .*RUN, such as .*, found none of them"):
        RunPreviews(run, [tmp_path / "none"])


def test_renamed_folder_is_taken_for_the_only_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = run_stub(write_folder(tmp_path), "RUN")
    (tmp_path / "in").rename(tmp_path / "other")
    check_pictures(RunPreviews(run, ["other"]), run)


def test_place_that_may_be_that_of_several_inputs_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "n1" / "in")
    write_pictures(tmp_path / "n2" / "in")
    run = run_stub(["n1/in", "n2/in"], "RUN")
    (tmp_path / "n1" / "in").rename(tmp_path / "in")
    with pytest.raises(InputError, match="expected each input of RUN in a place of its own, got one for several"):
        RunPreviews(run, ["in"])


def test_picture_that_is_gone_costs_itself_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = run_stub(write_folder(tmp_path), "RUN")
    (tmp_path / "in" / "D00700001.png").unlink()
    previews = RunPreviews(run)
    assert [previews.read(k) is None for k in range(N)] == [False, True, False, False, False, False]
    assert previews.read(2)[1, 1] == 2


@pytest.mark.parametrize(
    "spelt", ["in/", "./in", "./in/", "in//", "x.npy", "./x.npy", "p.zarr/", "./p.zarr//", "in/./*.png"]
)
def test_slashes_and_dots_change_nothing(tmp_path, monkeypatch, spelt):
    monkeypatch.chdir(tmp_path)
    for write in (write_folder, write_npy, write_store):
        write(tmp_path)
    plain = str(Path(spelt))
    run = run_stub(plain, "RUN", batch_size=4)
    paths = run.table("exposures")["path"]
    before = (tmp_path / "RUN" / "run.json").read_bytes()
    assert run_stub(spelt, "RUN/", batch_size=4).table("exposures")["path"].equals(paths)
    assert (tmp_path / "RUN" / "run.json").read_bytes() == before
    assert run_stub(spelt, "anew", batch_size=4).table("exposures")["path"].equals(paths)
    assert input_details([spelt]) == input_details([plain])


def test_resumed_run_keeps_where_its_inputs_are_now(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    run_stub(write_folder(tmp_path / "a"), tmp_path / "RUN")
    (tmp_path / "a").rename(tmp_path / "b")
    monkeypatch.chdir(tmp_path / "b")
    run = run_stub("in", tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    check_pictures(RunPreviews(run), run)


def test_run_of_an_older_version_looks_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = run_stub(write_folder(tmp_path), "RUN")
    run.annotate(details={"inputs": ["in"]})
    check_pictures(RunPreviews(run), run)
    assert InputPlaces.of(run).located("in/D1.png") == "in/D1.png"


def test_commands_take_where_the_inputs_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_stub(write_folder(tmp_path), "RUN")
    (tmp_path / "in").rename(tmp_path / "moved")

    def invoke(*words: str) -> str:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        return result.output

    assert "6 exposures, 0 previews" in invoke("report", "RUN", "-q")
    assert "6 exposures, 2 previews" in invoke("report", "RUN", "--inputs", "moved", "-q")
    invoke("export", "RUN", "--format", "via", "--inputs", "moved", "--out", "via")
    sizes = [record["size"] for record in json.loads((tmp_path / "via" / "via.json").read_text()).values()]
    assert sizes == [(tmp_path / "moved" / f"D{700000 + k:08d}.png").stat().st_size for k in (0, 4)]
    result = CliRunner().invoke(app, ["report", "RUN", "--inputs", "nowhere", "-q"])
    assert (result.exit_code, "nowhere: expected the inputs of RUN, such as " in result.output) == (1, True)


def test_working_folder_that_was_deleted_matters_to_relative_names_alone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert input_details(["/data/night/", "s3://bucket/night"]) == {"inputs": ["/data/night", "s3://bucket/night"]}
    with pytest.raises(InputError, match="night: expected a working folder that exists, got one that was deleted"):
        input_details(["night"])
