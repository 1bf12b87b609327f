"""Tests of what the terminal shows of the log."""

import io
import logging
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.cli.log import N_ALIKE, TerminalHandler
from cascade.core.log_records import REPORTED_ELSEWHERE


@pytest.fixture(params=[False, True], ids=["plain", "debug"])
def debug(request):
    return request.param


@pytest.fixture
def terminal(debug):
    """What is shown."""
    stream = io.StringIO()
    handler = TerminalHandler(stream, debug=debug)
    root = logging.getLogger()
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)


def lines(terminal):
    return terminal.getvalue().splitlines()


@pytest.mark.parametrize("name", ["cascade.runs.lease", "cascade.any.module.of.tomorrow", "cascade"])
def test_a_warning_of_any_of_our_modules_is_shown(terminal, name):
    logging.getLogger(name).warning("the store is full")
    assert lines(terminal) == [f"WARNING {name}: the store is full"]


@pytest.mark.parametrize("name", ["distributed.core", "cascades", "urllib3"])
def test_of_other_packages_only_errors_are_shown(terminal, debug, name):
    logging.getLogger(name).warning("connection lost")
    logging.getLogger(name).error("connection lost for good")
    hidden = [f"WARNING {name}: connection lost"] if debug else []
    assert lines(terminal) == [*hidden, f"ERROR {name}: connection lost for good"]


def test_what_is_reported_elsewhere_is_not_shown(terminal, debug):
    logging.getLogger("cascade.x").warning("bad exposure", extra=REPORTED_ELSEWHERE)
    assert lines(terminal) == (["WARNING cascade.x: bad exposure"] if debug else [])


def test_many_warnings_alike_end_in_one_line(terminal, debug):
    for n in range(N_ALIKE + 10):
        logging.getLogger("cascade.x").warning("exposure %d: N2 left dark", n)
    logging.getLogger("cascade.x").warning("another thing")
    shown = lines(terminal)
    if debug:
        assert len(shown) == N_ALIKE + 11
        return
    assert shown[:N_ALIKE] == [f"WARNING cascade.x: exposure {n}: N2 left dark" for n in range(N_ALIKE)]
    assert shown[N_ALIKE:] == [
        "WARNING cascade.x: more warnings like these are suppressed; --debug shows all",
        "WARNING cascade.x: another thing",
    ]


def test_errors_are_never_left_out(terminal):
    for n in range(N_ALIKE + 10):
        logging.getLogger("cascade.x").error("error %d", n)
    assert len(lines(terminal)) == N_ALIKE + 10


def test_bad_exposures_of_a_run_are_in_its_table_and_not_on_the_terminal(tmp_path):
    night = tmp_path / "night"
    night.mkdir()
    for k in range(6):
        (night / f"D{k:08d}.png").write_text("no image")
    Image.fromarray(np.zeros((400, 400), np.uint8)).save(night / "D00000009.png")
    words = ["run", str(night), "--stub", "--out", str(tmp_path / "run"), "--quiet"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "6 failed" in result.output
    assert "WARNING" not in result.output
    shown = CliRunner().invoke(app, ["--debug", *words[:-1], "--fresh", "--quiet"]).output
    assert len(re.findall(r"WARNING cascade\.pipeline\.batch: .*D0000000\d.png: expected a JPEG", shown)) == 6
