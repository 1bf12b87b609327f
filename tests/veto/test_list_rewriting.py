"""Tests of lists that are written anew and merged: what is not ours stays as it stands, and each says its origin."""

import json
import re
from csv import reader as csv_reader
from csv import writer as csv_writer

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import ascii as ascii_tables
from astropy.io import fits
from astropy.table import Table
from pyarrow import csv, parquet

from cascade.camera import Camera
from cascade.core.csv_cells import without_formula
from cascade.core.errors import ConfigError, InputError
from cascade.veto import (
    FORMATS,
    VETO,
    Provenance,
    VetoList,
    VetoRule,
    earlier_list,
    merge_lists,
    open_list,
    read_list,
    veto_bytes,
    write_veto,
)  # fmt: skip

CAMERA = Camera.decam()
PROVENANCE = Provenance(
    "RUN",
    "2026-01-02T03:04:05+00:00",
    (("screen", "screen-v1", "ab" * 32), ("segment", "segment-lite-v1", "cd" * 32)),
)
NAMES = {"csv": "o.csv", "parquet": "o.parquet", "des": "o.txt", "fits": "o.fits", "legacy": "o.lst"}
HEADER = "#date     expnum ccd id ccdnum\n"


def veto_list(*pairs):
    same = {"area_fraction": 0.5, "max_score": 0.75, "mjd_obs": 56232.125}
    rows = [
        same
        | {"expnum": expnum, "ccdnum": ccdnum, "detpos": CAMERA.detpos(ccdnum)}
        | {"reason": "Ghost/Scatter", "analyst": "cascade"}
        for expnum, ccdnum in pairs
    ]
    return VetoList(pa.Table.from_pylist(rows, VETO), 0, VetoRule(min_area=0.1), CAMERA)


def update(path, pairs, merge=(), format_=None):
    """Write a list anew, as the command does."""
    earlier = earlier_list(path, CAMERA, format_)
    form = format_ or earlier.form
    others = [open_list(other, CAMERA) for other in merge]
    vetoes, kept = merge_lists(veto_list(*pairs), earlier, others, CAMERA, form)
    names = (*(earlier.merged if earlier else ()), *(other.path.name for other in others))
    write_veto(vetoes, path, form, provenance=PROVENANCE.merging(names), kept=kept)
    return kept


def said(path):
    """Who says what of which CCD."""
    return {(e.expnum, e.ccdnum, e.reason, e.analyst) for e in open_list(path, CAMERA).entries}


def of_others(path):
    return {entry for entry in said(path) if entry[3] != "cascade"}


def ours(path):
    return {entry[:2] for entry in said(path) if entry[3] == "cascade"}


@pytest.fixture
def lists(tmp_path):
    """A list of every kind that others wrote."""
    (tmp_path / "by-eye.csv").write_text(
        "CCDNUM,EXPNUM,REASON,ANALYST,fwhm\n13,700,Streak,Bechtol,1.2\n62,701,Orión,,\n5,1,Streak,B. Jones,2\n"
    )
    (tmp_path / "exclude.txt").write_text(
        f"{HEADER}# Airplane\n20121101  145507  66 S14  13\n# CCD 46\n20171110 694885 nan N15 46\n"
    )
    (tmp_path / "bad_expid.txt").write_text("# expid reason\n146001 by eye\n754142-S29 noisy\n")
    return [tmp_path / name for name in ("by-eye.csv", "exclude.txt", "bad_expid.txt")]


MERGED = {
    (700, 13, "Streak", "Bechtol"),
    (701, 62, "Orión", "hand"),
    (1, 5, "Streak", "B. Jones"),
    (145507, 13, "Ghost/Scatter", "listed"),
    (694885, 46, "Ghost/Scatter", "listed"),
    (754142, 1, "noisy", "hand"),
    *((146001, ccd.ccdnum, "by eye", "hand") for ccd in CAMERA.ccds),
}


@pytest.mark.parametrize("format_", list(FORMATS))
def test_merged_entries_keep_reason_and_analyst_however_often_the_list_is_written(tmp_path, lists, format_):
    path = tmp_path / NAMES[format_]
    expected = MERGED
    if format_ == "fits":  # which holds ASCII alone
        expected = MERGED - {(701, 62, "Orión", "hand")} | {(701, 62, r"Ori\xf3n", "hand")}
    update(path, [(1, 5), (1, 6)], lists, format_)
    first = path.read_bytes()
    assert said(path) == expected | {(1, 5, "Ghost/Scatter", "cascade"), (1, 6, "Ghost/Scatter", "cascade")}
    update(path, [(1, 5), (1, 6)], lists, format_)
    assert path.read_bytes() == first
    update(path, [(1, 5), (1, 6)])
    assert path.read_bytes() == first
    update(path, [(9, 9)])
    assert of_others(path) == expected
    assert ours(path) == {(9, 9)}


def test_a_ccd_with_two_reasons_keeps_both(tmp_path):
    (tmp_path / "a.csv").write_text("expnum,ccdnum,reason,analyst\n1,5,Streak,B\n1,5,Noise,C\n1,5,Streak,D\n")
    for format_, name in NAMES.items():
        update(tmp_path / name, [(1, 5)], [tmp_path / "a.csv"], format_)
        assert said(tmp_path / name) == {
            (1, 5, "Streak", "B"), (1, 5, "Noise", "C"), (1, 5, "Streak", "D"), (1, 5, "Ghost/Scatter", "cascade"),
        }  # fmt: skip


def test_for_the_same_reason_an_entry_of_others_stands_rather_than_ours(tmp_path):
    (tmp_path / "a.csv").write_text("expnum,ccdnum\n1,5\n")
    update(tmp_path / "o.csv", [(1, 5), (2, 7)], [tmp_path / "a.csv"], "csv")
    assert said(tmp_path / "o.csv") == {(1, 5, "Ghost/Scatter", "hand"), (2, 7, "Ghost/Scatter", "cascade")}


def test_lines_of_an_exclude_list_stay_byte_for_byte(tmp_path):
    path = tmp_path / "exclude.txt"
    theirs = (
        f"{HEADER}20121101  145507  66 S14  13\n# Airplane\n\n20121101  145507  66 S14  13\n"
        "20171110 694885 nan N15 46  # by hand\nnan 146001 nan nan   28"
    )
    path.write_text(theirs)
    for pairs in ([(158776, 28)], [(158776, 28), (158777, 5)], []):
        kept = update(path, pairs)
        assert path.read_text().startswith(f"{theirs}\n# cascade veto min_area=0.1 ")
        assert ours(path) == set(pairs)
        assert len(kept.entries) == 4
    path.write_text(path.read_text() + "# appended\nnan 146002 nan nan 3\n")
    update(path, [(158776, 28)])
    assert path.read_text().startswith(f"{theirs}\n# appended\nnan 146002 nan nan 3\n# cascade veto")


def test_line_endings_and_byte_order_mark_stay(tmp_path):
    path = tmp_path / "exclude.txt"
    theirs = "\ufeff#date expnum ccd id ccdnum\r\n20121101 145507 66 S14 13\r\n".encode()
    path.write_bytes(theirs)
    for _ in range(2):
        update(path, [(158776, 28)])
    assert path.read_bytes().startswith(theirs + b"# cascade veto")
    assert path.read_bytes().endswith(b"\r\n20121031 158776 nan S4 28\r\n")
    table = tmp_path / "by-eye.csv"
    table.write_bytes("\ufeffexpnum,ccdnum,reason,analyst\r\n1,5,Streak,B\r\n".encode())
    for _ in range(2):
        update(table, [(2, 7)])
    assert table.read_bytes().startswith("\ufeff# cascade veto".encode())
    assert b"\r\nexpnum,ccdnum,reason,analyst\r\n1,5,Streak,B\r\n2,7," in table.read_bytes()


def test_lines_that_somebody_put_between_ours_stay(tmp_path):
    path = tmp_path / "exclude.txt"
    update(path, [(1, 5), (2, 7), (3, 9)], format_="des")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], "20171110 694885 nan N15 46", lines[-1]]) + "\n")
    kept = update(path, [(1, 5), (4, 4)])
    # Ours cannot be told from theirs any more, so all stay but those that we write again.
    assert kept.n_doubtful == 3
    assert {entry[:2] for entry in of_others(path)} == {(2, 7), (3, 9), (694885, 46)}
    assert ours(path) == {(1, 5), (4, 4)}
    assert update(path, [(1, 5)]).n_doubtful == 0


def test_lines_of_an_old_list_that_may_be_of_people_stay(tmp_path):
    path = tmp_path / "exclude.txt"
    path.write_text(
        "#date expnum ccd id ccdnum\n"
        "# cascade veto min_area=0.05 classes=bright,faint,rays min_score=0 min_ccds=1 dead_ccds=out\n"
        "# add CCDs by hand with nan as their ccd and id: such lines stay when cascade writes this list anew\n"
        "20121031 1 nan S26 5\n20121031 8 nan S26 5\n20121031 9 nan nan 5\n"
    )
    assert update(path, [(1, 5)]).n_doubtful == 1
    assert path.read_text().splitlines()[:3] == [
        "#date expnum ccd id ccdnum",
        "20121031 8 nan S26 5",
        "20121031 9 nan nan 5",
    ]
    assert "add CCDs by hand" not in path.read_text()


def test_sorting_an_exclude_list_loses_no_line(tmp_path):
    path = tmp_path / "exclude.txt"
    path.write_text(f"{HEADER}20171110 694885 nan N15 46\n")
    update(path, [(1, 5), (2, 7)])
    path.write_text("".join(sorted(path.read_text().splitlines(keepends=True))))
    update(path, [(1, 5)])
    assert {entry[:2] for entry in said(path)} >= {(694885, 46), (1, 5)}


def test_list_of_bad_exposures_stays_and_ours_are_written_anew(tmp_path):
    path = tmp_path / "bad_expid.txt"
    theirs = "#EXPID\tFlag\tcomments\n346662\t1\n# night\n754142-S29   noisy  ccd\n784312-S30\n"
    path.write_text(theirs)
    for pairs in ([(1, 5), (1, 6)], [(2, 7)]):
        update(path, pairs)
    assert path.read_text().startswith(f"{theirs}# cascade veto ")
    assert path.read_text().endswith("\n2 cascade: ghost/scatter on 1 CCDs: S28\n")


def test_our_line_of_which_somebody_took_a_ccd_is_theirs(tmp_path):
    path = tmp_path / "bad_expid.txt"
    update(path, [(1, 5), (1, 6)], format_="legacy")
    path.write_text(path.read_text().replace("S26 S27", "S26") + "7 cascade: I looked at it\n")
    update(path, [(2, 7)])
    assert "1 cascade: ghost/scatter on 2 CCDs: S26\n" in path.read_text()
    assert "7 cascade: I looked at it\n" in path.read_text()
    assert {entry[:2] for entry in of_others(path) if entry[0] == 1} == {(1, 5)}


def test_csv_of_others_keeps_its_columns_and_comments(tmp_path):
    path = tmp_path / "by-eye.csv"
    path.write_text('#compiled\nCCDNUM;fwhm;EXPNUM;REASON;ANALYST\n34;1.2;229287;"a; b";B\n# mid\n35;;229287;x;C')
    for _ in range(3):
        update(path, [(1, 5)])
    assert path.read_text().split("\n")[1:] == [
        "#compiled",
        "CCDNUM;fwhm;EXPNUM;REASON;ANALYST",
        '34;1.2;229287;"a; b";B',
        "# mid",
        "35;;229287;x;C",
        '5;;1;"Ghost/Scatter";"cascade"',
        "",
    ]


def test_csv_that_names_nobody_gets_columns_that_do(tmp_path):
    path = tmp_path / "by-eye.csv"
    path.write_text("EXPNUM,CCDNUM\n229287,34\n")
    for _ in range(2):
        update(path, [(1, 5)])
    assert path.read_text().splitlines()[1:] == [
        "EXPNUM,CCDNUM,reason,analyst",
        '229287,34,"Ghost/Scatter","hand"',
        '1,5,"Ghost/Scatter","cascade"',
    ]


def test_columns_of_merged_lists_are_added(tmp_path, lists):
    update(tmp_path / "o.csv", [(1, 6)], lists[:1], "csv")
    table = csv.read_csv(tmp_path / "o.csv", csv.ReadOptions(skip_rows=1))
    assert table["fwhm"].to_pylist() == [2.0, 1.2, None, None]
    update(tmp_path / "o.parquet", [(1, 6)], lists[:1], "parquet")
    assert parquet.read_table(tmp_path / "o.parquet")["fwhm"].to_pylist() == ["2", "1.2", "", None]


def test_fits_table_of_others_keeps_columns_cards_and_hdus(tmp_path):
    path = tmp_path / "list.fits"
    table = Table({"CCDNUM": np.array([3], ">i4"), "EXPNUM": np.array([2**40]), "SEEING": [1.5], "REASON": ["x" * 40]})
    table.meta = {"OBSERVER": "me", "comments": ["a note"]}
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.table_to_hdu(table), fits.ImageHDU(np.ones((3, 3)), name="EXTRA")])
    hdus[0].header["ORIGIN"] = "Fermilab"
    hdus.writeto(path)
    for _ in range(3):
        update(path, [(1, 5)])
    with fits.open(path, checksum=True) as file:
        assert [hdu.name for hdu in file[2:]] == ["EXTRA"]
        assert file[0].header["ORIGIN"] == "Fermilab"
        assert file[1].header["OBSERVER"] == "me"
        assert next(iter(file[1].header["COMMENT"])) == "a note"
        assert str(file[1].header["COMMENT"]).count("cascade veto") == 1
        assert file[1].data["EXPNUM"].tolist() == [2**40, 1]
        assert file[1].data["REASON"].tolist() == ["x" * 40, "Ghost/Scatter"]
        assert file[1].data["ANALYST"].tolist() == ["hand", "cascade"]
        assert file[1].data["SEEING"][0] == 1.5


def test_numbers_that_others_gave_are_not_taken_for_null(tmp_path):
    path = tmp_path / "list.fits"
    Table({"EXPNUM": [999999], "CCDNUM": [3], "ORDER": np.array([999999])}).write(path)
    for pairs in ([], [(1, 5)], [(1, 5)]):
        update(path, pairs)
        table = Table.read(path)
        assert (table["EXPNUM"][0], table["ORDER"][0]) == (999999, 999999)
    assert table["ORDER"].mask.tolist() == [False, True]


def test_parquet_table_of_others_keeps_columns_and_metadata(tmp_path):
    path = tmp_path / "list.parquet"
    table = pa.table({"ccdnum": pa.array([3], pa.int32()), "EXPNUM": [2.0], "seeing": [1.5]})
    parquet.write_table(table.replace_schema_metadata({"owner": "me"}), path)
    for _ in range(3):
        update(path, [(1, 5)])
    read = parquet.read_table(path)
    assert read.select(["ccdnum", "EXPNUM", "seeing"]).to_pydict() == {
        "ccdnum": [3, 5], "EXPNUM": [2.0, 1.0], "seeing": [1.5, None],
    }  # fmt: skip
    assert read["analyst"].to_pylist() == ["hand", "cascade"]
    assert read.schema.metadata[b"owner"] == b"me"


def test_list_of_another_run_that_is_merged_stays_and_says_which(tmp_path):
    for format_, name in NAMES.items():
        other = tmp_path / f"night1-{name}"
        write_veto(veto_list((1, 5)), other, format_)
        path = tmp_path / name
        update(path, [(2, 7)], [other], format_)
        update(path, [(3, 9)])
        assert said(path) == {(1, 5, "Ghost/Scatter", f"cascade:{other.name}"), (3, 9, "Ghost/Scatter", "cascade")}


def test_lines_after_those_of_a_merged_list_do_not_get_its_reason(tmp_path, lists):
    path = tmp_path / "o.txt"
    update(path, [], lists[:1], "des")
    update(path, [], [lists[1]])
    assert (145507, 13, "Ghost/Scatter", "listed") in said(path)


def test_streak_list_merged_into_an_exclude_list_stays_one_of_streaks(tmp_path):
    (tmp_path / "streak-y06.txt").write_text(f"{HEADER}# Airplane\n20180903 768677 nan nan 02\n")
    update(tmp_path / "o.txt", [], [tmp_path / "streak-y06.txt"], "des")
    assert said(tmp_path / "o.txt") == {(768677, 2, "Streak", "hand")}


def test_strangers_are_not_overwritten(tmp_path):
    assert earlier_list(tmp_path / "none", CAMERA, "des") is None
    (tmp_path / "thesis.txt").write_text("Chapter 1\n")
    with pytest.raises(InputError, match="expected 'date expnum ccd id ccdnum', got 'Chapter 1'"):
        earlier_list(tmp_path / "thesis.txt", CAMERA, "des")
    with pytest.raises(InputError, match="expected a line that begins with an expnum"):
        earlier_list(tmp_path / "thesis.txt", CAMERA, None)
    (tmp_path / "uniq.txt").write_text("# expnum ccdnum\n229287 34\n")
    for format_ in ("des", None):
        with pytest.raises(InputError, match="to rewrite, got a list of CCDs: expnum ccdnum; write another file"):
            earlier_list(tmp_path / "uniq.txt", CAMERA, format_)
    (tmp_path / "commas.txt").write_text("229287,ghosts\n")
    with pytest.raises(InputError, match="expected a list of format legacy to rewrite, got a list of bad exposures"):
        earlier_list(tmp_path / "commas.txt", CAMERA, "legacy")
    update(tmp_path / "o.lst", [(1, 5)], [tmp_path / "commas.txt"], "legacy")
    assert "\n229287 ghosts\n" in (tmp_path / "o.lst").read_text()
    (tmp_path / "whole.csv").write_text("expnum,reason\n1,focus\n")
    with pytest.raises(ConfigError, match="expected a column ccdnum to write CCDs into, got expnum, reason"):
        update(tmp_path / "whole.csv", [(1, 5)])
    assert (tmp_path / "whole.csv").read_text() == "expnum,reason\n1,focus\n"


@pytest.mark.parametrize("content", ["", "# by eye\n"])
@pytest.mark.parametrize(
    ("format_", "name"), [("csv", "o.csv"), ("csv", "o.txt"), ("des", "o.txt"), ("legacy", "o.txt")]
)
def test_empty_list_is_filled_and_its_comments_stay(tmp_path, content, format_, name):
    path = tmp_path / name
    path.write_text(content)
    for _ in range(2):
        update(path, [(1, 5)], format_=format_)
    assert ours(path) == {(1, 5)}
    assert content in path.read_text()


def test_column_that_cannot_hold_our_values_is_refused(tmp_path):
    parquet.write_table(pa.table({"expnum": pa.array([3], pa.int16()), "ccdnum": [2]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="veto format parquet: column expnum: "):
        update(tmp_path / "a.parquet", [(158776, 5)])
    Table({"expnum": np.array([3], np.int16), "ccdnum": [2]}).write(tmp_path / "a.fits")
    with pytest.raises(ConfigError, match="expected exposure numbers of at most 32767"):
        update(tmp_path / "a.fits", [(158776, 5)])


def test_every_format_says_where_it_comes_from(tmp_path, lists):
    expected = {
        "run": "RUN", "completed": "2026-01-02T03:04:05+00:00", "screen": "screen-v1", "screen_sha256": "ab" * 32,
        "segment": "segment-lite-v1", "segment_sha256": "cd" * 32, "merged": '["by-eye.csv"]',
    }  # fmt: skip
    for format_, name in NAMES.items():
        path = tmp_path / name
        update(path, [(1, 6)], lists[:1], format_)
        update(path, [(1, 6)])  # the names of merged lists stay, too
        if format_ == "parquet":
            metadata = {key.decode(): value.decode() for key, value in parquet.read_schema(path).metadata.items()}
            assert metadata.items() >= expected.items()
            assert metadata["rule"].startswith("min_area=0.1 ")
        elif format_ == "fits":
            header = fits.getheader(path, 1)
            keys = ("CASCRUN", "CASCDATE", "SCRNAME", "SCRSHA", "SEGNAME", "SEGSHA", "CASCMRGD")
            assert [header[key] for key in keys] == list(expected.values())
            assert header["CASCRULE"].startswith("min_area=0.1 ")
        else:
            (line,) = re.findall("^# cascade veto min_area.*$", path.read_text(), re.MULTILINE)
            items = dict(part.split(" ", 1) for part in line.split(" | ")[1:])
            assert items.items() >= expected.items()
            assert json.loads(items["merged"]) == ["by-eye.csv"]


def test_provenance_of_a_run_is_what_run_json_says():
    config = {"screen": {"name": "s", "sha256": "ab", "description_sha256": "x"}, "segment": None}
    header = {"config": config, "finished": "2026-01-02T03:04:05+00:00"}
    assert Provenance.of_run(header, "RUN") == Provenance("RUN", "2026-01-02T03:04:05+00:00", (("screen", "s", "ab"),))
    assert Provenance.of_run({"config": {}}, "RUN") == Provenance("RUN")
    assert "\n" not in str(Provenance("a\nb", merged=("c\nd",)))


def test_name_of_the_file_says_the_format_or_the_list_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"veto\.fits: expected format fits, which its name says, got csv"):
        write_veto(veto_list((1, 5)), tmp_path / "veto.fits", "csv")
    with pytest.raises(ConfigError, match=r"expected a list that is not compressed, such as .*veto\.csv"):
        write_veto(veto_list((1, 5)), tmp_path / "veto.csv.gz", "csv")
    assert not list(tmp_path.iterdir())


def test_bytes_of_a_list_are_those_that_are_written(tmp_path):
    for format_, name in NAMES.items():
        write_veto(veto_list((1, 5)), tmp_path / name, format_, provenance=PROVENANCE)
        assert (tmp_path / name).read_bytes() == veto_bytes(veto_list((1, 5)), format_, provenance=PROVENANCE)


def test_lists_are_read_by_the_tools_of_others(tmp_path, lists):
    pandas = pytest.importorskip("pandas")
    for format_, name in NAMES.items():
        update(tmp_path / name, [(158776, 13), (158777, 38)], lists, format_)
    n_entries = len(MERGED) + 2
    # As make_exclude_list.py of DELVE reads exclude lists.
    names = pandas.read_csv(tmp_path / "o.txt", nrows=0, sep=r"\s+").columns.to_list()
    frame = pandas.read_csv(tmp_path / "o.txt", sep=r"\s+", comment="#", names=names)
    assert len(frame) == n_entries
    assert frame.iloc[-1][["expnum", "ccdnum"]].tolist() == [158777, 38]
    # As its pngs.py does, and astropy.
    assert np.genfromtxt(tmp_path / "o.txt", names=True, dtype=int, encoding="utf-8")["ccdnum"][-1] == 38
    assert len(ascii_tables.read(tmp_path / "o.txt", format="commented_header")) == n_entries
    assert len(pandas.read_csv(tmp_path / "o.csv", comment="#")) == n_entries
    assert len(pandas.read_parquet(tmp_path / "o.parquet")) == n_entries
    assert len(Table.read(tmp_path / "o.fits")) == n_entries
    fitsio = pytest.importorskip("fitsio")
    assert len(fitsio.read(tmp_path / "o.fits")) == n_entries
    assert read_list(tmp_path / "o.fits", CAMERA).num_rows == n_entries


CROSSED = "20121103  146603  71 S20   9\n20121103  146603  71 S20   8\n"


def test_line_whose_name_another_line_has_stays_as_it_stands(tmp_path):
    path = tmp_path / "exclude.txt"
    path.write_text(HEADER + CROSSED)
    for _ in range(2):
        update(path, [(1, 5), (146603, 8)])
        assert path.read_text().startswith(HEADER + CROSSED)
        assert {entry[:2] for entry in of_others(path)} == {(146603, 8), (146603, 9)}


def test_line_whose_name_another_line_has_is_merged_by_its_number(tmp_path):
    path = tmp_path / "exclude.txt"
    path.write_text(f"{HEADER}20171110 694885 nan nan 46\n")
    (tmp_path / "theirs.txt").write_text(HEADER + CROSSED)
    update(path, [(1, 5)], merge=[tmp_path / "theirs.txt"])
    assert "20121103 146603 nan nan 9\n" in path.read_text()
    assert "S20   9" not in path.read_text()
    assert {entry[:2] for entry in of_others(path)} == {(694885, 46), (146603, 8), (146603, 9)}


FORMULAS = ["=1+1", "+A1", "-2+3+cmd", "@SUM(A1)", "'=1", "'quoted", '=HYPERLINK("x","y")']


def test_csv_holds_no_formula_and_gives_every_text_back(tmp_path):
    other, out = tmp_path / "theirs.csv", tmp_path / "veto.csv"
    with other.open("w", newline="") as file:
        rows = [(158776 + k, 28, without_formula(text), f"{k}") for k, text in enumerate(FORMULAS)]
        csv_writer(file).writerows([("expnum", "ccdnum", "reason", "=who"), *rows])
    for _ in range(3):  # the second and third time, the list itself is read and written anew
        update(out, [(145507, 13)], [other], "csv")
        lines = out.read_text().splitlines()[1:]
        cells = [cell for record in csv_reader(lines) for cell in record]
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]
        assert lines[0].endswith(",'=who")
        found = [entry for entry in open_list(out, CAMERA).entries if entry.analyst == "hand"]
        assert [entry.reason for entry in found] == FORMULAS
        assert [entry.extras for entry in found] == [(("=who", f"{k}"),) for k in range(len(FORMULAS))]


@pytest.mark.parametrize("name", ["gr\xf6\xdfe", "a\x00b", "o\u2028p"])
def test_columns_that_fits_cannot_name_are_written_as_escapes(tmp_path, name):
    other, out = tmp_path / "theirs.csv", tmp_path / "veto.fits"
    other.write_text(f"expnum,ccdnum,{name}\n158776,28,x y\n")
    for _ in range(2):
        update(out, [(145507, 13)], [other], "fits")
        table = Table.read(out)
        (column,) = [column for column in table.colnames if "\\" in column]
        assert str(table[column][0]) == "x y"


def test_column_whose_name_is_too_long_for_fits_is_refused(tmp_path):
    (tmp_path / "theirs.csv").write_text(f"expnum,ccdnum,{'n' * 70}\n158776,28,x\n")
    with pytest.raises(ConfigError, match="fits: expected columns with names of at most 60 characters, got"):
        update(tmp_path / "veto.fits", [(145507, 13)], [tmp_path / "theirs.csv"], "fits")
