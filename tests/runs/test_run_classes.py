"""Tests of the classes of a run, and of what older and newer formats of run.json say of them."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from fakes import FakeReader, FakeScreener, FakeSegmenter, config, new_run
from older_runs import to_format_3
from pyarrow import parquet

from cascade.camera import Camera
from cascade.core.artifact import PAPER_CLASSES, Artifact
from cascade.core.errors import ConfigError, StoreError
from cascade.core.fractions import fraction_labels
from cascade.core.versions import installed_versions
from cascade.export.ghosted import ghosted_exposures
from cascade.pages.report.snapshot import take_snapshot
from cascade.pipeline.batch import process_batch, run_serial
from cascade.runs.classes import RunClass, check_known
from cascade.runs.files import FORMAT_VERSION
from cascade.runs.masks import metadata_hashes
from cascade.runs.run import Run, open_run
from cascade.runs.tables import SCHEMAS, schemas, with_fractions
from cascade.runs.verify import verify_run

CAMERA = Camera.decam()
THREE = RunClass.of(PAPER_CLASSES)
SPOT = RunClass("spot", 128)


def finished(path: Path, **changes) -> Run:
    run = Run.create_or_resume(path, config(**changes))
    run_serial(FakeReader(), run, FakeScreener(), FakeSegmenter(), CAMERA)
    return run


def rewrite(run: Run, change) -> dict:
    """Change what run.json says."""
    path = run.path / "run.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    change(content)
    path.write_text(json.dumps(content))
    return content


def as_format_2(content: dict) -> None:
    content["format_version"] = 2
    del content["files"]
    del content["config"]["classes"]


def files_but_run_json(folder: Path) -> dict:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "run.json"
    }


def test_run_json_names_the_classes_and_their_bits(tmp_path):
    run = new_run(tmp_path / "run")
    content = json.loads((run.path / "run.json").read_text())
    assert content["format_version"] == FORMAT_VERSION == 4
    assert content["config"]["classes"] == [{"label": a.label, "bit": a.bit} for a in Artifact]
    assert open_run(run.path).config == run.config


def test_columns_follow_the_classes_of_the_run(tmp_path):
    run = finished(tmp_path / "run", classes=THREE)
    assert fraction_labels(run.table("ccds")) == ["bright", "faint", "rays"]
    file = parquet.read_schema(run.path / "ccds/part-00000.parquet")
    assert file.equals(schemas(("bright", "faint", "rays"))["ccds"], check_metadata=True)
    assert file.field("rays_fraction").metadata == {b"meaning": b"fraction that rays cover"}
    assert file.field("faint_fraction").metadata == {b"meaning": b"fraction that faint artifacts cover"}
    artifacts = parquet.read_schema(run.path / "artifacts/part-00000.parquet")
    assert artifacts.field("class").metadata == {b"meaning": b"bright, faint or rays"}
    assert schemas(("rays",))["artifacts"].field("class").metadata == {b"meaning": b"rays"}
    assert dict(run.masks.attrs)["flag_meanings"] == "bright faint rays"


def test_artifacts_of_a_class_that_the_run_does_not_have_are_refused(tmp_path):
    run = Run.create_or_resume(tmp_path / "run", config(classes=RunClass.of([Artifact.BRIGHT, Artifact.FAINT])))
    batch = run.pending()[1]
    part = FakeReader().part(batch.start, batch.stop)
    result = process_batch(part, batch, FakeScreener(), FakeSegmenter(), CAMERA, 0.7)
    with pytest.raises(StoreError, match="expected artifacts of bright, faint, got also rays"):
        run.commit(batch, result)
    assert batch in run.pending()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((), "classes: expected at least one and each once"),
        ((THREE[0], THREE[0]), "classes: expected at least one and each once"),
        (THREE[::-1], "by rising bit"),
        ((SPOT, RunClass("spot", 64)), "classes: expected at least one and each once"),
    ],
)
def test_classes_that_make_no_sense_are_refused(classes, message):
    with pytest.raises(ConfigError, match=message):
        config(classes=classes)


@pytest.mark.parametrize(
    ("label", "bit", "message"),
    [
        ("spot", 3, "class spot: expected one bit of a uint8 mask, got 3"),
        ("spot", 256, "got 256"),
        ("spot", "1", "got '1'"),
        ("rays", 128, "class rays: expected another bit than 128: here 4 is rays"),
        ("spot", 2, "class spot: expected another bit than 2: here 2 is faint"),
    ],
)
def test_bits_that_mean_another_class_are_refused(label, bit, message):
    with pytest.raises(ConfigError, match=message):
        RunClass(label, bit)


def test_run_with_bits_of_another_table_of_classes_cannot_be_read(tmp_path):
    run = new_run(tmp_path / "run")
    rewrite(run, lambda content: content["config"]["classes"][0].update(bit=64))
    with pytest.raises(
        StoreError, match=r"run.json: config: key classes\[0\]: class bright: expected another bit than 64"
    ):
        open_run(run.path)


# A run with a class that this code does not know.


@pytest.fixture
def spotted(tmp_path):
    """As a version that knows one more class would write it."""
    run = Run.create_or_resume(tmp_path / "run", config(classes=(*THREE, SPOT)))
    for batch in run.pending():
        part = FakeReader().part(batch.start, batch.stop)
        result = process_batch(part, batch, FakeScreener(), FakeSegmenter(), CAMERA, 0.7)
        wider = {**result.tables, "ccds": with_fractions(result.tables["ccds"], ["spot"])}
        run.commit(batch, replace(result, tables=wider))
    run.finish()
    return open_run(run.path)


def test_tables_of_a_run_with_a_class_that_is_not_known_are_read(spotted):
    assert fraction_labels(spotted.table("ccds")) == ["bright", "faint", "rays", "spot"]
    assert spotted.table("ccds")["spot_fraction"].to_pylist() == [0.0] * len(spotted.table("ccds"))
    assert verify_run(spotted) == []


def test_what_would_lose_a_class_that_is_not_known_refuses_the_run(spotted):
    for use in (take_snapshot, lambda run: next(ghosted_exposures(run))):
        with pytest.raises(StoreError, match=r"the classes bright, .*rays.*, got also spot, which would be lost"):
            use(spotted)


def test_known_classes_are_no_problem():
    check_known(RunClass.of(Artifact), "run")


# Verifying.


def test_verify_names_a_class_that_the_run_does_not_have(tmp_path):
    run = finished(tmp_path / "run")
    content = rewrite(run, lambda content: content["config"].update(classes=content["config"]["classes"][:2]))
    assert len(content["config"]["classes"]) == 2
    damages = verify_run(open_run(run.path))
    assert damages
    assert all("rays" in damage.problem for damage in damages)


# Format 2.


@pytest.fixture
def old(tmp_path):
    """A run directory of format 2, one batch of which is not done."""
    run = finished(tmp_path / "run", classes=THREE)
    run.forget(1)
    to_format_3(run)
    rewrite(run, as_format_2)
    return run


def test_run_of_format_2_is_read_and_verified_as_it_is(old):
    before = (old.path / "run.json").read_bytes()
    run = open_run(old.path)
    assert run.config == old.config
    assert run.table("ccds").schema.equals(schemas(run.config.labels)["ccds"])
    assert verify_run(run) == []
    assert run.summary().n_done == 3
    assert (old.path / "run.json").read_bytes() == before


def test_resuming_a_run_of_format_2_migrates_it(old, tmp_path):
    whole = finished(tmp_path / "whole", classes=THREE)
    before = json.loads((old.path / "run.json").read_text())
    resumed = Run.create_or_resume(old.path, old.config)
    content = json.loads((old.path / "run.json").read_text())
    assert content.pop("config")["classes"] == [{"label": c.label, "bit": c.bit} for c in THREE]
    assert content.pop("format_version") == 4
    assert content.pop("sha256")
    assert content.pop("files").keys() == metadata_hashes(resumed.config).keys()
    assert content == {key: value for key, value in before.items() if key not in ("config", "format_version")}
    run_serial(FakeReader(), resumed, FakeScreener(), FakeSegmenter(), CAMERA)
    ours, theirs = (
        {k: v for k, v in files_but_run_json(run.path).items() if "ledger" not in k} for run in (resumed, whole)
    )
    assert ours == theirs
    assert verify_run(open_run(old.path)) == []


def test_a_kill_while_it_migrates_leaves_the_old_run_json(old, monkeypatch):
    before = (old.path / "run.json").read_bytes()

    def killed(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    monkeypatch.setattr("pathlib.Path.replace", killed)
    monkeypatch.setattr("pathlib.Path.rename", killed)
    with pytest.raises(KeyboardInterrupt):
        Run.create_or_resume(old.path, old.config)
    assert (old.path / "run.json").read_bytes() == before
    monkeypatch.undo()
    assert open_run(old.path).config == old.config


def test_resuming_a_run_of_format_2_with_another_configuration_changes_nothing(old):
    before = (old.path / "run.json").read_bytes()
    with pytest.raises(StoreError, match="holds a run of another configuration: expected classes"):
        Run.create_or_resume(old.path, replace(old.config, classes=THREE[:2]))
    assert (old.path / "run.json").read_bytes() == before


# Newer formats.


@pytest.mark.parametrize("by", [{"ghost-cascade": "9.1"}, {}, None])
def test_newer_format_says_which_version_reads_it(tmp_path, by):
    run = new_run(tmp_path / "run")
    rewrite(run, lambda content: content.update(format_version=5, versions=by))
    who = "9.1" if by else "of the version that wrote it"
    with pytest.raises(
        StoreError, match=f"version 2, 3 or 4, got .* version 5; ghost-cascade {who} or newer can read it"
    ):
        open_run(run.path)
    assert "ghost-cascade" in installed_versions()


# Tables.


def test_a_column_for_a_further_class_is_empty():
    ccds = pa.Table.from_pylist(
        [{"exposure": 0, "ccdnum": 1, "detpos": "S29", "area_fraction": 0.5, "faint_fraction": 0.5, "max_score": 1.0}],
        schemas(("faint",))["ccds"],
    )
    wider = with_fractions(ccds, ["faint", "rays"])
    assert wider.schema.equals(schemas(("faint", "rays"))["ccds"], check_metadata=True)
    assert wider["rays_fraction"].to_pylist() == [0.0]
    assert with_fractions(ccds, ["faint"]).equals(ccds)


def test_schemas_of_all_classes_are_the_default():
    assert fraction_labels(SCHEMAS["ccds"]) == [artifact.label for artifact in Artifact]
