"""Tests of `cascade veto` with lists of others, formats and standard output."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image
from typer.testing import CliRunner

from cascade.cli.app import app


def veto(*words: object):
    return CliRunner().invoke(app, ["veto", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run that found nothing, so that all that is listed is of others."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "in").mkdir()
    Image.fromarray(np.full((400, 400), 100, np.uint8)).save(folder / "in" / "D00229287.png")
    words = ["run", str(folder / "in"), "--out", str(folder / "RUN"), "--stub", "--quiet"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return folder / "RUN"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path: Path) -> list[list[str]]:
    """Exposure and CCD of the rows of a CSV, which has two lines before them."""
    return [line.split(",")[:2] for line in path.read_text().splitlines()[2:]]


@pytest.mark.parametrize("header", ["", "#expnum ccdnum\n"])
def test_list_of_ccds_vetoes_these_ccds_and_it_is_said_how_it_was_read(run, folder, header):
    (folder / "uniq.txt").write_text(f"{header}229287 34\n229287 35\n232382 12\n")
    result = veto(run, "--merge", "uniq.txt", "--out", "out.csv")
    assert result.exit_code == 0, result.output
    assert "uniq.txt: read as list of CCDs: expnum ccdnum, 3 lines: 3 CCDs of 2 exposures\n" in result.output
    assert rows(folder / "out.csv") == [["229287", "34"], ["229287", "35"], ["232382", "12"]]


def test_ambiguous_list_is_refused_and_the_way_out_works(run, folder):
    (folder / "a.txt").write_text("229287 3\n")
    result = veto(run, "--merge", "a.txt", "--out", "out.csv")
    assert result.exit_code == 1
    assert "error: a.txt:1: '229287 3' may be 'expnum ccdnum'" in result.output
    assert not (folder / "out.csv").exists()
    assert veto(run, "--merge", "pairs:a.txt", "--out", "out.csv").exit_code == 0
    assert rows(folder / "out.csv") == [["229287", "3"]]
    result = veto(run, "--compare", "legacy:a.txt", "--out", "b.csv")
    assert "0 CCDs in both, 0 in ours alone, 62 in theirs alone" in result.output


def test_bad_expid_list_with_single_ccds_is_merged(run, folder):
    (folder / "bad_expid.txt").write_text(
        "#EXPID\tFlag\tcomments\n346343 expfactor=0.2 seeing=1.4\n346662\t1\n\n754142-S29 noisy\n784312-S30\n"
    )
    assert veto(run, "--merge", "bad_expid.txt", "--out", "veto.csv").exit_code == 0
    assert len(rows(folder / "veto.csv")) == 62 + 62 + 1 + 1


def test_lines_that_name_the_ccd_are_of_others_and_stay(run, folder):
    listed = [f"20171110 {expnum} nan N15 46\n" for expnum in range(694885, 694895)]
    theirs = "#date expnum ccd id ccdnum\n# Airplane\n20220805 1117976 53 S2 26\n" + "".join(listed)
    (folder / "exclude.txt").write_text(theirs)
    for _ in range(2):
        result = veto(run, "--format", "des", "--out", "exclude.txt")
        assert "11 entries of others were kept" in result.output
        assert (folder / "exclude.txt").read_text().startswith(theirs)
    (folder / "list.txt").write_text(theirs)
    assert veto(run, "--merge", "list.txt", "--out", "veto.csv").exit_code == 0
    assert veto(run, "--out", "veto.csv").exit_code == 0
    assert (folder / "veto.csv").read_text().count("N15") == 10


def test_edited_list_says_that_lines_may_be_ours(run, folder):
    (folder / "old.txt").write_text(
        "#date expnum ccd id ccdnum\n# cascade veto min_area=0.05 classes=bright\n20121031 8 nan S26 5\n"
    )
    result = veto(run, "--out", "old.txt")
    assert "1 of their lines may be ours" in result.output


def test_ending_of_the_name_picks_the_format(run, folder):
    for name, start in (
        ("v.csv", b"# cascade veto"),
        ("v.parquet", b"PAR1"),
        ("v.fits", b"SIMPLE"),
        ("v.txt", b"# cas"),
    ):
        assert veto(run, "--out", name).exit_code == 0
        assert (folder / name).read_bytes().startswith(start)


def test_list_that_is_there_picks_the_format(run, folder):
    (folder / "exclude.txt").write_text("#date expnum ccd id ccdnum\n20121101 145507 66 S14 13\n")
    assert veto(run, "--out", "exclude.txt").exit_code == 0
    assert (folder / "exclude.txt").read_text().startswith("#date expnum ccd id ccdnum\n20121101 145507 66 S14 13\n")
    result = veto(run, "--format", "legacy", "--out", "exclude.txt")
    assert result.exit_code == 1
    assert "expected a list of format legacy to rewrite, got a DES exclude list" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "csv", "--out", "v.fits"), "v.fits: expected format fits, which its name says, got csv"),
        (("--format", "des", "--out", "v.csv"), "v.csv: expected format csv, which its name says, got des"),
        (("--out", "v.csv.gz"), "v.csv.gz: expected a list that is not compressed, such as v.csv"),
        (("--format", "fits", "--out", "-"), "--out -: expected csv, des or legacy, which are text, got fits"),
    ],
)
def test_format_that_does_not_fit_the_place_is_refused(run, folder, words, message):
    result = veto(run, *words)
    assert result.exit_code == 1
    assert result.output == f"error: {message}\n"
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("format_", "first"), [("csv", "# cascade"), ("des", "#date expnum"), ("legacy", "# exp")])
def test_list_goes_to_standard_output_and_messages_do_not(run, folder, format_, first):
    (folder / "uniq.txt").write_text("229287 34\n")
    result = veto(run, "--format", format_, "--merge", "uniq.txt", "--out", "-")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(first)
    assert "read as" not in result.stdout
    assert "uniq.txt: read as list of CCDs" in result.stderr
    assert "-: 1 CCDs of 1 exposures vetoed" in result.stderr
    assert not (folder / "-").exists()
    assert veto(run, "--format", format_, "--merge", "uniq.txt", "--out", "v").exit_code == 0
    assert (folder / "v").read_text() == result.stdout


def test_columns_that_a_format_has_no_place_for_are_named(run, folder):
    (folder / "a.csv").write_text("expnum,ccdnum,fwhm\n1,5,2.0\n")
    result = veto(run, "--format", "des", "--merge", "a.csv", "--out", "v.txt")
    assert "1 columns have no place in this format: fwhm" in result.output


def test_list_says_the_run_and_what_was_merged_and_is_the_same_each_time(run, folder):
    (folder / "uniq.txt").write_text("229287 34\n")
    words = (run, "--merge", "uniq.txt", "--out", "v.fits")
    assert veto(*words).exit_code == 0
    first = (folder / "v.fits").read_bytes()
    assert veto(*words).exit_code == 0
    assert (folder / "v.fits").read_bytes() == first
    header = fits.getheader(folder / "v.fits", 1)
    content = json.loads((run / "run.json").read_text())
    assert header["CASCRUN"] == str(run)
    assert header["CASCDATE"] == content["finished"]
    assert header["CASCVER"] == content["versions"]["ghost-cascade"]
    assert header["CASCMRGD"] == '["uniq.txt"]'
    for task, name in (("screen", "SCR"), ("segment", "SEG")):
        model = content["config"][task]
        if model is not None:
            assert (header[f"{name}NAME"], header[f"{name}SHA"]) == (model["name"], model["sha256"])


def test_line_of_two_ccds_is_said_and_does_not_fail(run, folder):
    theirs = "#date expnum ccd id ccdnum\n20121103 146603 71 S20 9\n20121103 146603 71 S20 8\n"
    (folder / "des.txt").write_text(theirs)
    for words in (("--merge", "des.txt", "--out", "out.csv"), ("--out", "des.txt")):
        result = veto(run, *words)
        assert result.exit_code == 0, result.output
        assert (
            "des.txt:2: ccdnum/detpos: expected number and name of one CCD, got CCD 9 (S21) and CCD 8" in result.stderr
        )
    assert rows(folder / "out.csv") == [["146603", "8"], ["146603", "9"]]
    assert (folder / "des.txt").read_text().startswith(theirs)
