from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.cli.failed import MaxFailed, check_failed
from cascade.core.errors import InputError
from cascade.runs.run import open_run


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def images(folder: Path, *, n_good: int, n_bad: int) -> Path:
    folder.mkdir()
    for n in range(n_good):
        Image.fromarray(np.full((400, 400), 50, np.uint8)).save(folder / f"D{700001 + n:08d}.png")
    for n in range(n_bad):
        (folder / f"D{800001 + n:08d}.png").write_bytes(b"no image")
    return folder


def run_stub(inputs: Path, out: Path, *options: object):
    return invoke("run", inputs, "--out", out, "--stub", "--quiet", "--batch", 4, *options)


def test_run_of_which_every_exposure_failed_exits_with_1(tmp_path):
    inputs = images(tmp_path / "in", n_good=0, n_bad=3)
    result = run_stub(inputs, tmp_path / "RUN")
    assert result.exit_code == 1
    assert "expected some exposures to be processed, got 3 failed of 3; `cascade status" in result.output
    assert open_run(tmp_path / "RUN").summary().status == "complete"


@pytest.mark.parametrize(
    ("max_failed", "code"), [(None, 0), ("1", 0), ("0", 1), ("25%", 0), ("24.9 %", 1), ("0%", 1), ("100%", 0)]
)
def test_run_exits_with_1_above_the_number_or_share_that_may_fail(tmp_path, max_failed, code):
    inputs = images(tmp_path / "in", n_good=3, n_bad=1)
    options = () if max_failed is None else ("--max-failed", max_failed)
    assert run_stub(inputs, tmp_path / "RUN", *options).exit_code == code


def test_all_may_fail_if_asked_for(tmp_path):
    assert run_stub(images(tmp_path / "in", n_good=0, n_bad=2), tmp_path / "RUN", "--max-failed", "100%").exit_code == 0


@pytest.mark.parametrize("text", ["x", "-1", "101%", "1.5", "%", "", "nan%"])
def test_bad_limit_is_refused_before_the_run(tmp_path, text):
    with pytest.raises(typer.BadParameter, match="expected a number of exposures such as 12, or a share such as 5%"):
        MaxFailed.parse(text)
    inputs = images(tmp_path / "in", n_good=1, n_bad=0)
    assert run_stub(inputs, tmp_path / "RUN", f"--max-failed={text}").exit_code == 2
    assert not (tmp_path / "RUN").exists()


def test_limit_is_named_in_the_error():
    with pytest.raises(InputError, match=r"^out: expected at most 5% failed, got 6 failed of 100; see above$"):
        check_failed("out", 6, 100, MaxFailed.parse("5%"), causes="see above")
    check_failed("out", 5, 100, MaxFailed.parse("5%"), causes="see above")


def test_nothing_to_do_is_no_failure():
    check_failed("out", 0, 0, None, causes="")


def test_preview_of_which_every_exposure_failed_exits_with_1(tmp_path):
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "a.fits").write_bytes(b"no FITS")
    result = invoke("preview", tmp_path / "n", "--out", tmp_path / "p.zarr", "-q")
    assert result.exit_code == 1
    assert "expected some exposures to be processed, got 1 failed of 1" in result.output


def test_raytrace_of_which_every_exposure_failed_exits_with_1(tmp_path):
    inputs = images(tmp_path / "in", n_good=2, n_bad=0)  # without ra, dec and band
    run_stub(inputs, tmp_path / "RUN")
    result = invoke("raytrace", tmp_path / "RUN", "--out", tmp_path / "RAYS", "-q")
    assert result.exit_code == 1
    assert "got 2 failed of 2" in result.output
    allowed = invoke("raytrace", tmp_path / "RUN", "--out", tmp_path / "RAYS", "-q", "--max-failed", "2")
    assert allowed.exit_code == 0


def test_help_lists_the_exit_statuses():
    assert "130, 143, 129" in " ".join(invoke("--help").output.split())
