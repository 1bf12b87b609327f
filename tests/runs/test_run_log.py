"""Tests of cascade.runs.log."""

import json
import resource

import pytest

from cascade.runs import log as run_log
from cascade.runs.log import RunLog
from cascade.storage import open_storage


def lines(storage):
    return [json.loads(line) for name in storage.names("logs") for line in storage.read(f"logs/{name}").splitlines()]


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_every_event_is_a_line(place, tmp_path, request):
    storage = open_storage(tmp_path if place == "disk" else request.getfixturevalue("s3_folder"))
    log = RunLog(storage)
    log.write("start", n=3)
    log.write("batch", seconds={"read": 0.5})
    log.close()
    assert [{k: v for k, v in line.items() if k != "time"} for line in lines(storage)] == [
        {"event": "start", "n": 3},
        {"event": "batch", "seconds": {"read": 0.5}},
    ]


def test_lines_reach_an_object_store_before_the_end(s3_folder, monkeypatch):
    storage = open_storage(s3_folder)
    monkeypatch.setattr(run_log, "_SECONDS_BETWEEN_UPLOADS", 0.0)
    log = RunLog(storage)
    for n in range(3):
        log.write("batch", n=n)
    assert [line["n"] for line in lines(storage)] == [0, 1, 2]


def test_log_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    (tmp_path / "logs").write_text("in the way")
    log = RunLog(open_storage(tmp_path))
    log.write("start")
    log.close()
    assert "the log could not be written" in caplog.text


def test_full_disk_leaves_whole_lines(tmp_path, caplog):
    log = RunLog(open_storage(tmp_path))
    log.write("start", text="x" * 500)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, before[1]))
    try:
        log.write("batch", text="y" * 500)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "the log could not be written" in caplog.text
    assert [line["event"] for line in lines(open_storage(tmp_path))] == ["start"]
    log.close()
    assert [line["event"] for line in lines(open_storage(tmp_path))] == ["start", "batch"]
