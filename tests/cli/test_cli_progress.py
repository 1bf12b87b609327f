from __future__ import annotations

import pytest

from cascade.cli import progress as module
from cascade.cli.progress import progress


def test_lines_appear_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LINES", 0.0)
    with progress("exposures", done=2, total=6, quiet=False) as advance:
        advance(1, "none failed")
        advance(3, "1 failed")
    assert capsys.readouterr().err.splitlines() == [
        "3 of 6 exposures, none failed, 0:00:00 left",
        "6 of 6 exposures, 1 failed",
    ]


def test_lines_are_seconds_apart_but_the_last_always_shows(capsys):
    with progress("exposures", done=0, total=3, quiet=False) as advance:
        for _ in range(3):
            advance(1, "fine")
    assert capsys.readouterr().err.splitlines() == ["3 of 3 exposures, fine"]


def test_time_left_is_that_of_what_was_done_since_the_start(capsys, monkeypatch):
    times = iter([0.0, 60.0])
    monkeypatch.setattr(module, "monotonic", lambda: next(times))
    with progress("exposures", done=900, total=1000, quiet=False) as advance:
        advance(20, "")
    assert capsys.readouterr().err == "920 of 1000 exposures, 0:04:00 left\n"


def test_quiet_shows_nothing(capsys):
    with progress("exposures", done=0, total=1, quiet=True) as advance:
        advance(1, "fine")
    assert capsys.readouterr().err == ""


def test_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with progress("exposures", done=0, total=2, quiet=False) as advance:
        advance(2, "fine")
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize("quiet", [True, False])
def test_errors_pass_through(quiet):
    with pytest.raises(KeyError), progress("exposures", done=0, total=1, quiet=quiet):
        raise KeyError
