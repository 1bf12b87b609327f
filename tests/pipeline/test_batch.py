"""Tests of cascade.pipeline.batch and cascade.runs.rows."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from errno import ENOENT, ENOMEM, ENOSPC
from pathlib import Path

import fakes
import numpy as np
import pytest
from fakes import (
    BRIGHT,
    CLEAN,
    EMPTY_MASK,
    NAN_SCORE,
    OVERLAP,
    READ_CRASH,
    SCREEN_CRASH,
    SEASON,
    SEGMENT_CRASH,
    UNREADABLE,
    WRONG_SHAPE,
    FakeReader,
    FakeScreener,
    FakeSegmenter,
    config,
    new_run,
)
from PIL import Image
from pycocotools import mask as coco_mask

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError, ModelError, OutageError
from cascade.core.exposure import Instances, Source
from cascade.pipeline import batch as pipeline
from cascade.pipeline.batch import process_batch, read_batch, run_serial
from cascade.runs.config import Batch
from cascade.runs.run import Run
from cascade.runs.tables import SCHEMAS, STAR_COLUMNS

CAMERA = Camera.decam()


def processed(*kinds, screener=None, segmenter=None, threshold=0.7):
    """The result of one batch of these kinds, numbered from 100."""
    reader = FakeReader(tuple(enumerate(kinds, start=100)))
    batch = Batch(2, 50, 50 + len(kinds))
    screener = FakeScreener() if screener is None else screener
    return process_batch(reader, batch, screener, segmenter or FakeSegmenter(), CAMERA, threshold)


def column(result, name, table="exposures"):
    return result.tables[table][name].to_pylist()


def finished(path, reader=None, **changes):
    """A run made in one go."""
    run = new_run(path, reader, **changes)
    run_serial(reader or FakeReader(), run, FakeScreener(), FakeSegmenter(), CAMERA)
    return run


def rows_without_place(table):
    """Rows without their position in the input, in any order."""
    rows = table.drop_columns("exposure").to_pylist()
    return sorted(json.dumps(row) for row in rows)


def test_every_exposure_has_a_row_whatever_happens_to_it():
    result = processed(CLEAN, BRIGHT, UNREADABLE, OVERLAP)
    assert column(result, "exposure") == [50, 51, 52, 53]
    assert column(result, "expnum") == [100, 101, 102, 103]
    assert column(result, "status") == ["clean", "ghosted", "failed", "ghosted"]
    assert column(result, "screen_score") == pytest.approx([0, 0.7, None, 0.8])
    assert column(result, "flagged") == [False, True, False, True]
    assert column(result, "n_artifacts") == [0, 1, 0, 2]
    for name, schema in SCHEMAS.items():
        assert result.tables[name].schema.equals(schema, check_metadata=True)


def test_facts_of_the_header_are_kept_where_the_exposure_could_be_read():
    good, bad = processed(CLEAN, UNREADABLE).tables["exposures"].to_pylist()
    header = ("band", "mjd_obs", "ra", "dec", "exptime")
    assert [good[field] for field in header] == ["g", 56232.1, 10.0, -45.5, 90.0]
    assert [bad[field] for field in header] == [None] * 5


# pycocotools 2.0.11 has not caught up with NumPy 2's __array__.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_artifact_rows_hold_tight_boxes_areas_and_coco_masks():
    first, second = processed(OVERLAP).tables["artifacts"].to_pylist()
    rle = {"size": [400, 400], "counts": second.pop("rle").encode()}
    assert [second.pop(field.name) for field in STAR_COLUMNS] == [None] * 5
    assert second == {
        "exposure": 50,
        "expnum": 100,
        "artifact": 1,
        "class": "rays",
        "score": np.float32(0.6),
        "y0": 250,
        "x0": 250,
        "y1": 310,
        "x1": 350,
        "area_px": 60 * 100,
    }
    expected = np.zeros((400, 400), bool)
    expected[250:310, 250:350] = True
    np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), expected)
    assert (first["artifact"], first["class"]) == (0, "faint")


def test_artifact_area_is_the_covered_fraction_of_the_ccd_pixels():
    result = processed(BRIGHT)
    on_ccds = CAMERA.labels > 0
    assert column(result, "artifact_area")[0] == pytest.approx(on_ccds[100:150, 120:180].sum() / on_ccds.sum())


def test_ccd_rows_add_up_to_the_artifact_area():
    result = processed(OVERLAP)
    areas = CAMERA.areas()
    covered = [row["area_fraction"] * areas[row["ccdnum"]] for row in result.tables["ccds"].to_pylist()]
    assert sum(covered) / areas[1:].sum() == pytest.approx(column(result, "artifact_area")[0])


def test_batch_without_artifacts_has_no_masks_and_no_rows_of_ccds():
    result = processed(CLEAN, UNREADABLE)
    assert result.masks is None
    assert result.tables["ccds"].num_rows == result.tables["artifacts"].num_rows == 0


def test_flagged_exposure_without_artifacts_is_clean():
    result = processed(EMPTY_MASK)
    assert (column(result, "flagged"), column(result, "status")) == ([True], ["clean"])
    assert column(result, "artifact_area") == [0.0]
    assert result.masks is None


def test_score_equal_to_the_threshold_is_flagged_and_one_below_is_not():
    assert column(processed(BRIGHT, threshold=0.7), "flagged") == [True]
    assert column(processed(BRIGHT, threshold=0.7001), "flagged") == [False]


def test_only_flagged_exposures_reach_the_segmenter():
    segmenter = FakeSegmenter()
    processed(CLEAN, BRIGHT, CLEAN, UNREADABLE, OVERLAP, segmenter=segmenter)
    assert segmenter.n_images == 2


def test_without_a_screen_every_readable_exposure_is_segmented():
    segmenter = FakeSegmenter()
    reader = FakeReader(((1, CLEAN), (2, BRIGHT), (3, UNREADABLE)))
    result = process_batch(reader, Batch(0, 0, 3), None, segmenter, CAMERA, None)
    assert segmenter.n_images == 2
    assert column(result, "flagged") == [True, True, False]
    assert column(result, "screen_score") == [None] * 3


@pytest.mark.parametrize(("screener", "threshold"), [(FakeScreener(), None), (None, 0.5)])
def test_screener_and_threshold_come_together(screener, threshold):
    with pytest.raises(ConfigError, match="threshold: expected one with a screener and none without"):
        process_batch(FakeReader(), Batch(0, 0, 1), screener, FakeSegmenter(), CAMERA, threshold)


@pytest.mark.parametrize(
    ("kind", "stage", "error"),
    [
        (UNREADABLE, "read", "night/101--1.jpg: not an image"),
        (READ_CRASH, "read", "decoder fell over"),
        (WRONG_SHAPE, "read", "night/101--3.jpg: expected a preview of uint8 (400, 400), got uint8 (4, 4)"),
        (SCREEN_CRASH, "screen", "screen fell over"),
        (NAN_SCORE, "screen", "expected finite scores, got nan"),
        (SEGMENT_CRASH, "segment", "segmenter fell over"),
    ],
)
def test_one_bad_exposure_fails_alone(kind, stage, error):
    result = processed(BRIGHT, kind, CLEAN, BRIGHT)
    assert column(result, "status") == ["ghosted", "failed", "clean", "ghosted"]
    assert result.tables["failures"].to_pylist() == [
        {"exposure": 51, "path": f"night/101-{kind}.jpg", "expnum": 101, "stage": stage, "error": error}
    ]
    assert column(result, "artifact_area")[1] is None
    assert result.counts.n_failed == 1


def test_unexpected_error_of_a_reader_is_logged_with_its_traceback(caplog):
    processed(READ_CRASH)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage().startswith("night/100--2.jpg: reading failed: ZeroDivisionError")
    assert record.exc_info[0] is ZeroDivisionError


def test_path_that_is_no_text_is_logged_escaped(caplog):
    class Latin(FakeReader):
        def source(self, index):
            return Source("night/\udce9\n.jpg")

    read_batch(Latin(((None, READ_CRASH),)), Batch(0, 0, 1), CAMERA)
    assert r"night/\udce9\n.jpg: reading failed: ZeroDivisionError" in caplog.text
    caplog.text.encode()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(ENOSPC, "No space left on device"), "night/1-0\\.jpg: No space left on device; the run can be res"),
        (OSError(ENOMEM, "Cannot allocate memory"), "night/1-0\\.jpg: expected 256 MiB of memory"),
        (ImportError("no room", name="sep"), "night/1-0\\.jpg: expected the module sep, got no room; the run can be"),
    ],
)
@pytest.mark.parametrize("told", [True, False])
def test_what_the_machine_lacks_is_no_failed_exposure(error, message, told):
    class Poor(FakeReader):
        def read(self, index):
            if told:
                raise InputError(self.source(index).path) from error
            raise error

    with pytest.raises(OutageError, match=message):
        read_batch(Poor(((1, CLEAN), (2, CLEAN))), Batch(0, 0, 2), CAMERA)


def test_networks_without_memory_fail_no_exposure():
    class Poor(FakeScreener):
        def score(self, images):
            raise OSError(ENOMEM, "Cannot allocate memory")

    with pytest.raises(OutageError, match="the network: expected 256 MiB of memory"):
        processed(BRIGHT, screener=Poor())


def test_error_without_a_message_is_recorded_by_its_type():
    class Silent(FakeScreener):
        def score(self, images):
            raise ValueError

    assert column(processed(CLEAN, screener=Silent()), "error", "failures") == ["ValueError()"]


def test_interruption_by_a_person_is_not_a_failed_exposure():
    class Interrupted(FakeScreener):
        def score(self, images):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processed(CLEAN, screener=Interrupted())


def test_network_that_fails_on_every_exposure_of_several_stops_the_run():
    class Lossy(FakeSegmenter):
        def segment(self, images):
            return []

    assert column(processed(BRIGHT, segmenter=Lossy()), "error", "failures") == ["expected 1 results, got 0"]
    with pytest.raises(
        ModelError, match=r"failed on each of 2 exposures: .*expected 2 results, got 0.* can be resumed"
    ):
        processed(BRIGHT, BRIGHT, segmenter=Lossy())


@pytest.mark.parametrize("found", [Instances.empty((8, 8)), fakes.instances((0, float("nan"), 0, 0, 9, 9))])
def test_instances_that_cannot_be_stored_fail_the_exposure(found):
    class Odd(FakeSegmenter):
        def segment(self, images):
            return [found] * len(images)

    result = processed(BRIGHT, segmenter=Odd())
    assert column(result, "stage", "failures") == ["segment"]
    assert column(result, "screen_score") == pytest.approx([0.7])


def test_many_flagged_exposures_are_segmented_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(pipeline, "_N_AT_ONCE", 2)
    segmenter = FakeSegmenter()
    result = processed(BRIGHT, OVERLAP, BRIGHT, CLEAN, BRIGHT, OVERLAP, segmenter=segmenter)
    assert segmenter.n_calls == 3
    assert column(result, "n_artifacts") == [1, 2, 1, 0, 1, 2]


def test_file_name_that_is_no_utf8_can_be_stored(caplog):
    class Latin(FakeReader):
        def source(self, index):
            return fakes.replace(super().source(index), path="nuit/\udce9toile.jpg")

    reader = Latin(((1, UNREADABLE),))
    result = process_batch(reader, Batch(0, 0, 1), FakeScreener(), FakeSegmenter(), CAMERA, 0.5)
    assert column(result, "path") == column(result, "path", "failures") == ["nuit/\\udce9toile.jpg"]
    assert r"nuit/\udce9toile.jpg: not an image" in caplog.text


def test_counts_and_seconds_describe_the_batch():
    counts = processed(CLEAN, BRIGHT, UNREADABLE, OVERLAP, SEGMENT_CRASH, EMPTY_MASK).counts
    assert (counts.n_exposures, counts.n_flagged, counts.n_ghosted, counts.n_failed) == (6, 4, 2, 2)
    assert counts.n_artifacts == 3
    assert tuple(counts.seconds) == pipeline.STAGES


def test_batch_size_does_not_change_the_tables(tmp_path):
    runs = [finished(tmp_path / str(size), batch_size=size) for size in (1, 4, 100)]
    for name in SCHEMAS:
        first, *others = (run.table(name) for run in runs)
        assert all(first.equals(other) for other in others)
    np.testing.assert_array_equal(runs[0].masks[:], runs[2].masks[:])


def test_permuting_exposures_permutes_rows_and_masks(tmp_path):
    order = np.random.default_rng(1).permutation(len(SEASON))
    straight = finished(tmp_path / "straight")
    permuted = finished(tmp_path / "permuted", FakeReader(tuple(SEASON[k] for k in order)))
    expected = straight.table("exposures").take(order).drop_columns("exposure")
    assert permuted.table("exposures").drop_columns("exposure").equals(expected)
    np.testing.assert_array_equal(permuted.masks[:], straight.masks[:][order])
    for name in ("artifacts", "ccds", "failures"):
        assert rows_without_place(permuted.table(name)) == rows_without_place(straight.table(name))


def test_serial_run_reports_every_batch_and_ends_complete(tmp_path):
    reported = []
    run = new_run(tmp_path)
    summary = run_serial(
        FakeReader(), run, FakeScreener(), FakeSegmenter(), CAMERA, on_batch=lambda c: reported.append(c.n_exposures)
    )
    assert reported == [3, 3, 3, 2]
    assert (summary.status, summary.counts.n_exposures, summary.counts.n_failed) == ("complete", 11, 2)


def test_finished_run_is_not_run_again(tmp_path):
    run = finished(tmp_path)
    segmenter = FakeSegmenter()
    run_serial(FakeReader(), run, FakeScreener(), segmenter, CAMERA)
    assert segmenter.n_calls == 0


def test_reader_of_another_length_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected 11 exposures, got a reader of 1"):
        run_serial(FakeReader(((1, CLEAN),)), new_run(tmp_path), FakeScreener(), FakeSegmenter(), CAMERA)


KILLED_RUN = """
import sys
sys.path.insert(0, {tests!r})
from fakes import *
from cascade.camera import Camera
from cascade.pipeline.batch import run_serial
run = Run.create_or_resume({path!r}, config())
run_serial(FakeReader(), run, FakeScreener(), FakeSegmenter(kill_at=3), Camera.decam())
"""


@pytest.mark.slow
def test_run_killed_and_resumed_equals_one_that_was_not(tmp_path):
    path = tmp_path / "killed"
    script = KILLED_RUN.format(tests=str(Path(__file__).parents[1]), path=str(path))
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    times = {file: file.stat().st_mtime_ns for file in path.glob("*/*-0000[01].*")}
    assert len(times) == 2 * (len(SCHEMAS) + 1)

    run = Run.create_or_resume(path, config())
    assert [batch.index for batch in run.pending()] == [2, 3]
    screener, segmenter = FakeScreener(), FakeSegmenter()
    summary = run_serial(FakeReader(), run, screener, segmenter, CAMERA)

    # Of batches 2 and 3, exposure 6 cannot be read, and 8 and 9 are flagged.
    assert (screener.n_images, segmenter.n_images) == (4, 2)
    assert summary.counts.n_exposures == len(SEASON)
    assert {file: file.stat().st_mtime_ns for file in times} == times
    whole = finished(tmp_path / "whole")
    for name in SCHEMAS:
        assert run.table(name).equals(whole.table(name))
    np.testing.assert_array_equal(run.masks[:], whole.masks[:])


def test_outage_stops_the_run_instead_of_failing_every_exposure(tmp_path):
    from cascade.inputs import open_inputs

    manifest = tmp_path / "m.csv"
    manifest.write_text("expnum,path\n" + "".join(f"{n},gone/{n}.jpg\n" for n in range(8)))
    reader = open_inputs([manifest])
    few = process_batch(reader.part(0, 7), Batch(0, 0, 7), None, FakeSegmenter(), Camera.decam(), None)
    assert few.counts.n_failed == 7
    with pytest.raises(OutageError, match=r"none of 8 exposures is available, got .*no such file.* can be resumed"):
        process_batch(reader, Batch(0, 0, 8), None, FakeSegmenter(), Camera.decam(), None)


def test_disk_that_goes_away_within_a_batch_makes_no_failed_exposure(tmp_path):
    from cascade.inputs import open_inputs

    for number in range(4):
        Image.fromarray(np.full((400, 400), 50, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").unlink()
    names = [str(tmp_path / f"{number}.png") for number in range(4)]
    (tmp_path / "m.csv").write_text("path\n" + "\n".join(names) + "\n")
    reader = open_inputs(tmp_path / "m.csv")
    assert [outcome.lost for outcome in read_batch(reader, Batch(0, 0, 4), CAMERA).outcomes] == [False, True] + [
        False
    ] * 2

    class Unplugged(type(reader)):
        """Its disk goes away before the third exposure."""

        def read(self, index):
            if index == 2:
                for name in names:
                    Path(name).unlink(missing_ok=True)
            return reader.read(index)

    unplugged = Unplugged(reader.rows, reader.folder, reader.root)
    with pytest.raises(OutageError, match=r"exposures that were read are no longer available, got .*no such file"):
        read_batch(unplugged, Batch(0, 0, 4), CAMERA)


@dataclass(frozen=True)
class TwoDisks(FakeReader):
    """The first two exposures lie on a disk that goes away after one of them was read; the others stay."""

    seen: list[int] = field(default_factory=list)

    def read(self, index):
        if index < 2 and self.seen:
            msg = f"{self.source(index).path}: no such file"
            raise InputError(msg) from FileNotFoundError(ENOENT, "gone")
        self.seen.append(index)
        return super().read(index)


def test_outage_is_seen_by_the_first_exposure_that_could_be_read_not_by_the_last():
    reader = TwoDisks(((1, CLEAN), (2, CLEAN), (3, CLEAN), (4, CLEAN)))
    with pytest.raises(OutageError, match=r"exposures that were read are no longer available, got .*1-0.jpg"):
        read_batch(reader, Batch(0, 0, 4), CAMERA)


@dataclass(frozen=True)
class LittleMemory(FakeReader):
    """An exposure takes all memory, and then perhaps none is left for others."""

    lasting: bool = False
    seen: list[int] = field(default_factory=list)

    def read(self, index):
        self.seen.append(index)
        if index == 1 or (self.lasting and index == 0 and 1 in self.seen):
            raise MemoryError
        return super().read(index)


def test_exposure_that_takes_all_memory_fails_and_one_for_which_none_was_left_does_not():
    items = ((1, CLEAN), (2, CLEAN), (3, CLEAN))
    outcomes = read_batch(LittleMemory(items), Batch(0, 0, 3), CAMERA).outcomes
    assert [outcome.failure for outcome in outcomes] == [None, ("read", "night/2-0.jpg: no memory was left"), None]
    with pytest.raises(OutageError, match=r"that were read are no longer available, got .*no memory was left"):
        read_batch(LittleMemory(items, lasting=True), Batch(0, 0, 3), CAMERA)
