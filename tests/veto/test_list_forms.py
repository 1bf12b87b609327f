"""Tests of which form a veto list has: told by header and content, refused where it may be two."""

import gzip

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table
from pyarrow import parquet

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError
from cascade.veto import open_list, read_list, split_form

CAMERA = Camera.decam()
WHOLE = [ccd.ccdnum for ccd in CAMERA.ccds]


def read(tmp_path, content, name="list.txt", form=None):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_list(tmp_path / name, CAMERA, form)


def entries(found):
    return [(entry.expnum, entry.ccdnum, entry.reason, entry.analyst) for entry in found.entries]


def pairs(found):
    return [(entry.expnum, entry.ccdnum) for entry in found.entries]


TWO = [(229287, 34), (232382, 12)]


@pytest.mark.parametrize(
    "content",
    [
        "229287 34\n232382 12\n",
        "# expnum ccdnum\n229287 34\n232382 12\n",
        "#EXPNUM CCDNUM\n229287 34\n232382 12\n",
        "expnum ccd\n229287 34\n232382 12\n",
        "# ccdnum expnum\n34 229287\n12 232382\n",
        "# DES Y1\n# expnum ccdnum\n\n229287 34\n# more\n232382 12\n",
        "229287\t34\n232382\t12",
        "229287,34\n232382,12\n",
        "# expnum, ccdnum\n229287, 34\n232382, 12\n",
        "# expnum, ccdnum\n229287 34\n232382 12\n",
        "expnum;ccdnum\n229287;34\n232382;12\n",
        "\ufeff# expnum ccdnum\r\n229287 34\r\n\r\n232382 12\r\n",
        "D00229287 34\nD00232382 12\n",
        "229287.0 34.0\n232382.0 12.0\n",
        "# expnum ccdnum\n229287 034\n232382 12\n",
        "229287 N3\n232382 s24\n",
        "# EXPNUM CCDNAME\n229287 n03\n232382 S24\n",
    ],
)
def test_list_of_ccds_lists_these_ccds_and_no_others(tmp_path, content):
    assert pairs(read(tmp_path, content)) == [(229287, 34), (232382, 12)]


def test_reading_is_said_in_one_line(tmp_path):
    assert str(read(tmp_path, "229287 34\n229287 35\n229287 35\n")) == (
        f"{tmp_path / 'list.txt'}: read as list of CCDs: expnum ccdnum, 3 lines: 2 CCDs of 1 exposures"
    )
    assert "read as DES exclude list: date expnum ccd id ccdnum, 1 lines" in str(
        read(tmp_path, "#date expnum ccd id ccdnum\n20121101 145507 66 S14 13\n")
    )
    assert "read as CSV, 1 lines: 62 CCDs of 1 exposures (whole exposures: no column names a CCD)" in str(
        read(tmp_path, "expnum,reason\n1,focus\n", "a.csv")
    )


@pytest.mark.parametrize(
    "content",
    [
        "# expnum ccdnum reason\n229287 34 big streak\n232382 12\n",
        "EXPNUM CCDNUM REASON\n229287  34   big  streak\n232382 12\n",
        "229287,34,big streak\n232382,12\n",
        "229287 34 # big streak\n232382 12\n",
    ],
)
def test_reasons_of_a_list_of_ccds_are_read(tmp_path, content):
    assert entries(read(tmp_path, content)) == [
        (229287, 34, "big streak", "hand"),
        (232382, 12, "Ghost/Scatter", "hand"),
    ]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("229287 3\n229288 2\n", "1: '229287 3'"),  # CCDs, or the flags of a list of bad exposures
        ("346343 expfactor=0.2\n346662\t1\n", "2: '346662\t1'"),
        ("229287 34\n229288 focus test\n", "1: '229287 34'"),
        ("229287 34 streak\n", "1: '229287 34 streak'"),
        ("146001 12 CCDs saturated\n", "1: '146001 12 CCDs saturated'"),
        ("229287 34-36\n", "1: '229287 34-36'"),
        ("229287 34,35\n", "1: '229287 34,35'"),
        ("229287 N15,N16\n", "1: '229287 N15,N16'"),
        ("229287 CCD34\n", "1: '229287 CCD34'"),
        ("229287 ccd 34\n", "1: '229287 ccd 34'"),
        ("229287,3\n", "1: '229287,3'"),
    ],
)
def test_list_that_may_be_of_ccds_or_of_exposures_is_refused_with_the_way_out(tmp_path, content, line):
    with pytest.raises(InputError, match="may be 'expnum ccdnum'") as raised:
        read(tmp_path, content)
    path = tmp_path / "list.txt"
    assert f"{path}:{line}".replace("\t", "\\t") in str(raised.value).replace("\\\\t", "\\t").replace("\t", "\\t")
    assert f"say which: pairs:{path} or legacy:{path}" in str(raised.value)


def test_what_the_user_says_decides(tmp_path):
    (tmp_path / "a.txt").write_text("229287 3\n229288 2\n")
    assert pairs(open_list(f"pairs:{tmp_path}/a.txt", CAMERA)) == [(229287, 3), (229288, 2)]
    assert pairs(open_list(f"legacy:{tmp_path}/a.txt", CAMERA)) == [(n, k) for n in (229287, 229288) for k in WHOLE]
    assert read_list(f"pairs:{tmp_path}/a.txt", CAMERA).num_rows == 2
    assert split_form("pairs:x/a.txt")[0] == "pairs"
    (tmp_path / "legacy:a.txt").write_text("229287 34\n")
    assert split_form(tmp_path / "legacy:a.txt") == (None, tmp_path / "legacy:a.txt")
    with pytest.raises(ConfigError, match="expected one of csv, parquet, des, fits, legacy, pairs, nights, got 'xls'"):
        open_list(tmp_path / "a.txt", CAMERA, "xls")


def test_list_of_bad_exposures_names_exposures_and_single_ccds(tmp_path):
    found = read(
        tmp_path,
        "#EXPID\tFlag\tcomments\n346662\t1\n346343 expfactor=0.208  seeing=1.400\n\n# 2018\n"
        "754142-S29 noisy\n784312-s30\n784313_12 x\n348295\t3\tDECAL lights on\n",
    )
    assert found.form == "legacy"
    reasons = {entry.expnum: entry.reason for entry in found.entries}
    assert reasons[346343] == "expfactor=0.208 seeing=1.400"
    assert (reasons[346662], reasons[348295]) == ("1", "3 DECAL lights on")
    assert pairs(found) == [
        *((346662, n) for n in WHOLE),
        *((346343, n) for n in WHOLE),
        *[(754142, 1), (784312, 2), (784313, 12)],
        *((348295, n) for n in WHOLE),
    ]


def test_list_of_bad_exposures_needs_no_header(tmp_path):
    found = read(tmp_path, "# more\n141716 early focus test\n158776 ghosts, scattered light\n146001\n")
    assert [entry.reason for entry in found.entries][::62] == [
        "early focus test",
        "ghosts, scattered light",
        "Ghost/Scatter",
    ]


def test_problem_lists_of_des_list_whole_exposures(tmp_path):
    lines = "20180906        769981          Telescope Moving\n20190205        820116          Orion Nebula \n"
    for content in (f"#Nite           Exposure        Problem\n{lines}", lines):
        found = read(tmp_path, content)
        assert found.form == "nights"
        assert [(e.expnum, e.reason) for e in found.entries][::62] == [
            (769981, "Telescope Moving"),
            (820116, "Orion Nebula"),
        ]
        assert found.entries[0].mjd_obs == 58368.0  # the middle of the night of 6 September 2018


def test_exclude_list_is_told_with_and_without_header(tmp_path):
    lines = "20121101 145507 66 S14 13\n# Airplane\nnan 146001 nan nan 28  # by hand\n20171110 694885 nan N15 46\n"
    for content in (f"#date     expnum ccd id ccdnum\n{lines}", lines, f"# y1\n#date expnum ccd id ccdnum\n{lines}"):
        found = read(tmp_path, content)
        assert found.form == "des"
        assert entries(found) == [
            (145507, 13, "Ghost/Scatter", "listed"),
            (146001, 28, "Ghost/Scatter", "hand"),
            (694885, 46, "Ghost/Scatter", "listed"),
        ]


def test_exclude_list_gets_the_reason_that_its_name_says_as_in_des(tmp_path):
    found = read(tmp_path, "#date expnum ccd id ccdnum\n20180903 768677 nan nan 02\n", "streak-y06.txt")
    assert entries(found) == [(768677, 2, "Streak", "hand")]
    assert str(found).endswith("(reason Streak, by its name)")
    found = read(tmp_path, "#date expnum ccd id ccdnum\n20180903 768677 nan N15 46\n", "ccd46-y05.txt")
    assert found.entries[0].reason == "Bad CCD"


def test_csv_has_its_columns_in_any_order_and_keeps_others(tmp_path):
    found = read(
        tmp_path,
        '# compiled\nCCDNUM,fwhm,EXPNUM,Analyst,REASON\n34,1.2,229287,Bechtol,"big, ""bad"""\n# x\n12,,232382,,\n',
        "a.csv",
    )
    assert entries(found) == [(229287, 34, 'big, "bad"', "Bechtol"), (232382, 12, "Ghost/Scatter", "hand")]
    assert [entry.extras for entry in found.entries] == [(("fwhm", "1.2"),), (("fwhm", ""),)]
    assert found.columns == ("fwhm",)


def test_tabs_separate_columns_where_all_lines_have_them(tmp_path):
    found = read(tmp_path, "expnum\tccdnum\treason\tanalyst\n229287\t34\tbig streak\tB. Jones\n", "a.tsv")
    assert entries(found) == [(229287, 34, "big streak", "B. Jones")]


def test_record_of_a_csv_may_have_several_lines(tmp_path):
    found = read(tmp_path, 'expnum,ccdnum,reason\n1,13,"two\n# lines"\n2,14,x\n', "a.csv")
    assert entries(found) == [(1, 13, "two # lines", "hand"), (2, 14, "x", "hand")]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", ""), ("a.txt", ""), ("a.txt", "# nothing yet\n\n"), ("a.csv", "expnum,ccdnum\n")],
)
def test_empty_list_lists_nothing(tmp_path, name, content):
    found = read(tmp_path, content, name)
    assert found.table.num_rows == 0
    assert str(found).endswith("read as an empty list")


def test_compressed_lists_are_read(tmp_path):
    text = gzip.compress(b"# expnum ccdnum\n229287 34\n232382 12\n")
    assert pairs(read(tmp_path, text, "list.txt.gz")) == TWO
    assert pairs(read(tmp_path, gzip.compress(b"expnum,ccdnum\n229287,34\n232382,12\n"), "list.csv.gz")) == TWO
    with pytest.raises(InputError, match="ended before the end-of-stream"):
        read(tmp_path, text[:-9], "list.txt.gz")


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.veto.reading._MAX_BYTES", 1000)
    with pytest.raises(InputError, match="at most 1000 bytes, got more"):
        read(tmp_path, gzip.compress(b"#" * 100_000), "list.txt.gz")


def test_padded_bytes_and_other_types_of_a_fits_table_are_read(tmp_path):
    table = Table(
        {
            "REASON": np.array([b"Streak" + b" " * 24, b""], "S30"),
            "CCDNUM": np.array([34.0, 12.0]),
            "EXPNUM": np.array([229287, 232382], ">i8"),
            "ANALYST": np.array([b"kadrlica  ", b""], "S30"),
        }
    )
    table.write(tmp_path / "a.fits")
    found = open_list(tmp_path / "a.fits", CAMERA)
    assert entries(found) == [(229287, 34, "Streak", "kadrlica"), (232382, 12, "Ghost/Scatter", "hand")]
    (tmp_path / "b.fits.gz").write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    assert entries(open_list(tmp_path / "b.fits.gz", CAMERA)) == entries(found)


def test_tables_are_known_by_their_content_whatever_their_name(tmp_path):
    parquet.write_table(pa.table({"EXPNUM": [229287.0, 232382.0], "detpos": ["n3", "S24"]}), tmp_path / "a.csv")
    found = open_list(tmp_path / "a.csv", CAMERA)
    assert (found.form, pairs(found)) == ("parquet", TWO)


def test_lists_of_another_camera_name_its_ccds(tmp_path):
    (tmp_path / "a.txt").write_text("2025050100123 R22_S11\n2025050100124 r01_s00\n")
    found = open_list(tmp_path / "a.txt", Camera.load("lsstcam"))
    assert [(e.expnum, e.detpos) for e in found.entries] == [(2025050100123, "R22_S11"), (2025050100124, "R01_S00")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "# expnum ccdnum\n1 63\n1 0\n", "2: ccdnum: DECam has no CCD 63: expected 1 to 62, .* 1 more such"),
        ("a.txt", "1 12\n1 63\n", "a.txt:2: ccdnum: DECam has no CCD 63"),
        ("a.txt", "# expnum ccdnum\n1 -1\n", "a.txt:2: ccdnum: DECam has no CCD -1"),
        ("a.txt", "# expnum ccdnum\n1 34.5\n", "a.txt:2: ccdnum: DECam has no CCD 34.5"),
        ("a.txt", "# expnum ccdnum\n1 nan\n", "a.txt:2: ccdnum: expected a CCD, got none"),
        ("a.txt", "# expnum ccdnum\nnan 34\n", "a.txt:2: expnum: expected a number in every row, got none"),
        ("a.txt", "# expnum ccdnum\n1.5 34\n", "a.txt:2: expnum: expected a number .* got '1.5'"),
        ("a.txt", f"{2**63} 34\n", f"a.txt:1: expnum: expected a number from 1 to {2**63 - 1}, got '{2**63}'"),
        ("a.txt", "# expnum ccdnum\n1 34 35\n", "a.txt:2: expected 'expnum ccdnum', got '1 34 35'"),
        ("a.txt", "870773-870847 Saturn\n", "1: expnum: expected one exposure, or one CCD of it, got '870773-870847'"),
        ("a.txt", "145507-S99 x\n", "a.txt:1: \\w+: DECam has no CCD S99"),
        ("a.txt", "145507 cascade: ghost/scatter on 1 CCDs: S99", "a.txt:1: \\w+: DECam has no CCD S99"),
        ("a.txt", "abc reason", "a.txt:1: expected a line that begins with an expnum or a night, got 'abc reason'"),
        ("a.txt", "20121101 145507 66 S14\n", "a.txt:1: expected 'date expnum .* or 'nite .* say which: des:"),
        ("a.txt", "# date ccdnum expnum\n# date expnum\n20121101 1\n", "expected columns expnum and ccdnum, got date"),
        ("a.txt", b"\xff\xfe\x00", "a.txt: expected text in UTF-8, got UTF-16"),
        ("a.csv", "expnum,other\n1,2\n", "a.csv:1: expected columns expnum and ccdnum, got expnum, other"),
        ("a.csv", "expnum,ccdnum,CCDNUM\n1,2,3\n", "a.csv:1: expected one column ccdnum, got expnum, ccdnum, CCDNUM"),
        ("a.csv", "expnum,ccdnum\nx,2\n", "a.csv:2: expnum: expected a number .* got 'x'"),
        ("a.csv", "expnum,ccdnum\n,2\n1,3\n", "a.csv:2: expnum: expected a number in every row"),
        ("a.csv", "expnum,ccdnum\n1,\n", "a.csv:2: ccdnum: expected a CCD, got none"),
        ("a.csv", "expnum,ccdnum,reason\n1,13\n", "a.csv:2: expected the 3 columns 'expnum,ccdnum,reason', got 2"),
        ("a.csv", "expnum,ccdnum,mjd_obs\n1,13,now\n", "a.csv:2: mjd_obs: expected a number, got 'now'"),
        ("a.csv", "expnum,ccdnum,max_score\n1,13,1e999\n", "a.csv:2: max_score: expected a number, got '1e999'"),
        ("a.csv", "expnum,ccdnum\n0,13\n", "a.csv:2: expnum: expected a number from 1 to .*, got '0'"),
        ("a.csv", f"expnum,ccdnum\n{'1' * 5000},13\n", "a.csv:2: expnum: expected a number from 1 to"),
        ("a.csv", f"expnum,ccdnum\n1,{'x' * 200_000}\n", "a.csv:2: expected the 2 columns .* larger than field limit"),
        ("a.csv", "other,ccdnum\n1,63\n", "a.csv:1: expected a CSV with a header that names expnum"),
        ("a.parquet", "rubbish", "a.parquet: expected a Parquet file"),
        ("a.fits", "rubbish", "a.fits: expected a FITS table"),
    ],
)  # fmt: skip
def test_malformed_list_is_refused_with_line_and_value(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content, name)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.txt", "#date expnum ccd id ccdnum\n20121103  146603  71 S20   9\n", "a.txt:2"),
        ("a.csv", "expnum,ccdnum,detpos\n1,8,S20\n146603,9,S20\n", "a.csv:3"),
        ("a.csv", "expnum,ccdnum\n146603-S20,9\n", "a.csv:2"),
    ],
)
def test_number_and_name_of_different_ccds_are_refused_with_both(tmp_path, name, content, line):
    with pytest.raises(
        InputError, match=rf"{line}: \w+/\w+: expected number and name of one CCD, got .*CCD 9 \(S21\)"
    ) as raised:
        read(tmp_path, content, name)
    assert "CCD 8 (S20)" in str(raised.value)


def test_nan_instead_of_the_wrong_one_settles_it(tmp_path):
    header = "#date expnum ccd id ccdnum\n"
    assert pairs(read(tmp_path, f"{header}20121103 146603 71 S20 nan\n")) == [(146603, 8)]
    assert pairs(read(tmp_path, f"{header}20121103 146603 71 nan 9\n")) == [(146603, 9)]


def test_number_counts_where_another_line_of_an_exclude_list_has_the_name(tmp_path, caplog):
    # Lines 14 to 17 of the first list of DES; 70 S21 9 elsewhere in it.
    header = "#date     expnum ccd id ccdnum\n"
    theirs = "20121103  146603  66 S14  13\n20121103  146603  71 S20   9\n20121103  146603  71 S20   8\n"
    assert pairs(read(tmp_path, header + theirs)) == [(146603, 13), (146603, 9), (146603, 8)]
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        "WARNING",
        f"{tmp_path}/list.txt:3: ccdnum/detpos: expected number and name of one CCD, got CCD 9 (S21) and CCD 8 (S20); "
        "read as CCD 9: another line lists the other",
    )


@pytest.mark.parametrize(
    "other",
    [
        "20121103 146604 71 S20 8",  # another exposure
        "20121103 146603 70 S21 9",  # what the number says already: the name is what is new
        "20121103 146603 72 S20 10",  # in doubt itself
        "20121103 146603 71 S20 99\n20121103 146603 71 S20 8",  # no such CCD
    ],
)
def test_number_and_name_of_two_ccds_are_refused_where_doubt_is_left(tmp_path, other):
    with pytest.raises(InputError, match=r"list.txt:[23]: ccdnum/detpos: expected number and name|has no CCD 99"):
        read(tmp_path, f"#date expnum ccd id ccdnum\n20121103 146603 71 S20 9\n{other}\n")


@pytest.mark.parametrize("name", ["a.parquet", "a.fits"])
def test_tables_are_checked_row_by_row(tmp_path, name):
    write = {
        "a.parquet": lambda table: parquet.write_table(table, tmp_path / name),
        "a.fits": lambda table: Table(table.to_pydict()).write(tmp_path / name, overwrite=True),
    }[name]
    write(pa.table({"expnum": [1, 1], "ccdnum": [8, 9], "detpos": ["S20", "S20"]}))
    with pytest.raises(InputError, match=rf"{name}: row 2: \w+/detpos: expected number and name of one CCD"):
        open_list(tmp_path / name, CAMERA)
    write(pa.table({"expnum": [1, 1], "other": [8, 9]}))
    with pytest.raises(InputError, match=rf"{name}: expected columns expnum and ccdnum, got expnum, other"):
        open_list(tmp_path / name, CAMERA)


def test_table_with_text_that_is_none_is_refused(tmp_path):
    text = pa.Array.from_buffers(pa.string(), 1, [*pa.array(["ab"]).buffers()[:2], pa.py_buffer(b"\xeb\xff")])
    parquet.write_table(pa.table({"expnum": [1], "ccdnum": [8], "reason": text}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a.parquet: expected a Parquet file: .*UTF8"):
        open_list(tmp_path / "a.parquet", CAMERA)


def test_fits_file_without_a_table_is_refused_in_one_line(tmp_path):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 3)))]).writeto(tmp_path / "a.fits")
    with pytest.raises(InputError, match=r"^[^\n]*a.fits: expected a FITS table: .{5,100}$"):
        open_list(tmp_path / "a.fits", CAMERA)


@pytest.mark.parametrize("time", ["0", "-1", "20121101", "2456232.5"])
def test_time_that_no_exposure_has_is_unknown(tmp_path, time):
    (entry,) = read(tmp_path, f"expnum,ccdnum,mjd_obs\n1,13,{time}\n", "a.csv").entries
    assert entry.mjd_obs is None


def test_missing_or_huge_list_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="No such file"):
        open_list(tmp_path / "none.txt", CAMERA)
    monkeypatch.setattr("cascade.veto.reading._MAX_BYTES", 5)
    with pytest.raises(InputError, match="at most 5 bytes, got more"):
        read(tmp_path, "145507 reason\n")
