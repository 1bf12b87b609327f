"""Tests of cascade.veto's lists: every format out and in, merging, comparing."""

from pathlib import Path

import pyarrow as pa
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError
from cascade.veto import (
    FORMATS,
    VETO,
    VetoList,
    VetoRule,
    compare_lists,
    kept_entries,
    merged_list,
    read_list,
    veto_rows,
    write_veto,
)  # fmt: skip

CAMERA = Camera.decam()
RULE = VetoRule(min_area=0.1)


def table(*entries):
    """From (expnum, ccdnum) or (expnum, ccdnum, analyst)."""
    rows = [
        {
            "expnum": expnum, "ccdnum": ccdnum, "detpos": CAMERA.detpos(ccdnum), "area_fraction": 0.5,
            "max_score": 0.75, "mjd_obs": 56232.125, "reason": "Ghost/Scatter", "analyst": (*rest, "cascade")[0],
        }
        for expnum, ccdnum, *rest in entries
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, VETO)


def pairs(listed):
    return list(zip(listed["expnum"].to_pylist(), listed["ccdnum"].to_pylist(), strict=True))


def by_hand(listed):
    return [pair for pair, who in zip(pairs(listed), listed["analyst"].to_pylist(), strict=True) if who != "cascade"]


def veto_list(*entries):
    return VetoList(table(*entries), 0, RULE, CAMERA)


MIXED = veto_list((145507, 13), (145507, 28, "hand"), (158776, 62))


@pytest.mark.parametrize("format_", list(FORMATS))
def test_every_format_is_read_back_and_says_the_rule(tmp_path, format_):
    path = tmp_path / f"list.{format_}"
    write_veto(veto_list((145507, 13), (158776, 28), (158776, 62)), path, format_)
    read = read_list(path, CAMERA, format_)
    assert pairs(read) == [(145507, 13), (158776, 28), (158776, 62)]
    assert set(read["analyst"].to_pylist()) == {"cascade"}
    assert read["detpos"].to_pylist() == [CAMERA.detpos(n) for n in (13, 28, 62)]
    text = str(fits.getheader(path, 1)["COMMENT"]) if format_ == "fits" else path.read_bytes().decode("latin-1")
    assert "min_area=0.1 classes=bright,faint,rays min_score=0 min_ccds=1 dead_ccds=out" in text.replace("\n", "")


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, 2**31 - 1), st.integers(1, 62)), max_size=12),
    st.sampled_from(list(FORMATS)),
)
def test_any_list_survives_the_round_trip(tmp_path_factory, entries, format_):
    path = tmp_path_factory.mktemp("lists") / "list"
    write_veto(veto_list(*sorted(entries)), path, format_)
    assert pairs(read_list(path, CAMERA, format_)) == sorted(entries)


def test_compiled_table_has_the_columns_of_des(tmp_path):
    write_veto(MIXED, tmp_path / "list.fits", "fits")
    with fits.open(tmp_path / "list.fits", checksum=True) as file:
        data = file[1].data
        assert [str(data.dtype[name]) for name in data.names] == [">i4", ">i2", "|S30", "|S30"]
        assert data.names == ["EXPNUM", "CCDNUM", "REASON", "ANALYST"]
        assert data["REASON"].tolist() == ["Ghost/Scatter"] * 3
        assert data["ANALYST"].tolist() == ["cascade", "hand", "cascade"]
        assert "cascade veto min_area=0.1" in str(file[1].header["COMMENT"]).replace("\n", "")


def test_expnum_that_the_compiled_table_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="exposure numbers of at most 2147483647"):
        write_veto(veto_list((2**31, 5)), tmp_path / "list.fits", "fits")


def test_compiled_table_needs_astropy(tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.veto.writing.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="expected the package astropy"):
        write_veto(MIXED, tmp_path / "list.fits", "fits")


def test_list_of_bad_exposures_gives_reasons(tmp_path):
    write_veto(veto_list((145507, 13), (145507, 14), (158776, 62)), tmp_path / "bad_expid.txt", "legacy")
    assert (tmp_path / "bad_expid.txt").read_text().splitlines()[2:] == [
        "145507 cascade: ghost/scatter on 2 CCDs: S14 S15",
        "158776 cascade: ghost/scatter on 1 CCDs: N31",
    ]


def test_real_lists_are_told_apart_by_their_first_line(tmp_path):
    legacy = tmp_path / "decam-bad_expid.txt"
    legacy.write_text("# expid reason\n\n141716 early focus test\n# more\n158776 ghosts, scattered light\n")
    listed = read_list(legacy, CAMERA)
    assert pairs(listed) == [(expnum, n) for expnum in (141716, 158776) for n in range(1, 63)]
    assert set(listed["reason"].to_pylist()) == {"early focus test", "ghosts, scattered light"}
    headless = tmp_path / "list.txt"
    headless.write_text("20121101 145507 66 S14 13\nnan 146001 nan nan 28\n")
    assert pairs(read_list(headless, CAMERA)) == [(145507, 13), (146001, 28)]
    assert by_hand(read_list(headless, CAMERA)) == [(145507, 13), (146001, 28)]


def test_csv_with_comments_in_the_middle_and_capital_names_is_read(tmp_path):
    (tmp_path / "a.csv").write_text(
        "#compiled\nEXPNUM,CCDNUM,REASON,ANALYST\n145507,13,Streak,Bechtol\n# x\n145508,14,,\n"
    )
    listed = read_list(tmp_path / "a.csv", CAMERA)
    assert listed["reason"].to_pylist() == ["Streak", "Ghost/Scatter"]
    assert listed["analyst"].to_pylist() == ["Bechtol", "hand"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "expnum,other\n1,2\n", "expected columns expnum and ccdnum, got expnum, other"),
        ("a.csv", "expnum,ccdnum\nx,2\n", "column expnum: "),
        ("a.csv", "expnum,ccdnum\n,2\n1,3\n", "expected an expnum in every row"),
        ("a.csv", "", "expected a CSV"),
        ("a.csv", "expnum,ccdnum\n1,63\n", "exposure 1: DECam has no CCD 63"),
        ("a.parquet", "rubbish", "expected a Parquet file"),
        ("a.fits", "rubbish", "expected a FITS table"),
        ("a.txt", "abc reason", "a.txt:1: expected 'expnum reason', got 'abc reason'"),
        ("a.txt", "145507 cascade: ghost/scatter on 1 CCDs: S99", "DECam has no CCD S99"),
        ("a.txt", b"\xff\xfe\x00", "expected text, got"),
    ],
)
def test_malformed_list_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        read_list(tmp_path / name, CAMERA)


def test_missing_or_huge_list_and_unknown_format_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="No such file"):
        read_list(tmp_path / "none.txt", CAMERA)
    with pytest.raises(ConfigError, match="expected one of csv, parquet, des, fits, legacy, got 'xls'"):
        read_list(tmp_path / "none.txt", CAMERA, "xls")
    (tmp_path / "a.txt").write_text("145507 reason\n")
    monkeypatch.setattr("cascade.veto.reading._MAX_BYTES", 5)
    with pytest.raises(InputError, match="at most 5 bytes, got 14"):
        read_list(tmp_path / "a.txt", CAMERA)


@pytest.mark.parametrize("format_", list(FORMATS))
def test_hand_made_entries_survive_that_the_list_is_written_anew(tmp_path, format_):
    path = tmp_path / "list"
    write_veto(MIXED, path, format_)
    if format_ == "legacy":
        path.write_text(path.read_text() + "146001 by eye\n")
    kept = kept_entries(path, CAMERA, format_)
    assert (145507, 28) in by_hand(kept)
    write_veto(merged_list(veto_list((158777, 5)), [kept]), path, format_)
    again = read_list(path, CAMERA, format_)
    assert {(145507, 28), (158777, 5)} <= set(pairs(again))
    assert (158776, 62) not in pairs(again)
    assert (145507, 28) in by_hand(again)
    if format_ == "legacy":
        assert "146001 by eye" in path.read_text().splitlines()


def test_line_of_a_ray_tracer_survives_any_number_of_times(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("#date expnum ccd id ccdnum\n20121101 145507 66 S14 13\n")
    for _ in range(3):
        write_veto(merged_list(veto_list((158776, 28)), [kept_entries(path, CAMERA, "des")]), path, "des")
        assert path.read_text().splitlines()[-2:] == ["20121101 145507 nan nan 13", "20121031 158776 nan S4 28"]


def test_nothing_is_kept_where_there_is_no_list_and_strangers_are_not_overwritten(tmp_path):
    assert kept_entries(tmp_path / "none", CAMERA, "des").num_rows == 0
    (tmp_path / "thesis.txt").write_text("Chapter 1\n")
    with pytest.raises(InputError, match="expected 'date expnum ccd id ccdnum'"):
        kept_entries(tmp_path / "thesis.txt", CAMERA, "des")


def test_merging_keeps_each_ccd_once_and_the_word_of_a_person():
    merged = merged_list(veto_list((1, 5), (2, 7)), [table((1, 5, "hand"), (1, 6, "hand")), table((2, 7))])
    assert pairs(merged.table) == [(1, 5), (1, 6), (2, 7)]
    assert by_hand(merged.table) == [(1, 5), (1, 6)]


def test_lists_are_compared_by_exposure_and_ccd():
    both = compare_lists(table((1, 5), (1, 6), (2, 7)), table((1, 6), (3, 7)))
    assert (both.n_both, both.n_first, both.n_second) == (1, 2, 1)
    assert str(both) == "1 CCDs in both, 2 in ours alone, 1 in theirs alone"


def test_a_list_of_nights_is_read_and_written_by_the_clock_of_the_camera(tmp_path):
    text = (Path(__file__).parents[2] / "cascade" / "camera" / "decam.toml").read_text(encoding="utf-8")
    (tmp_path / "hawaii.toml").write_text(text.replace("rollover_utc_h = 12.0", "rollover_utc_h = 22.36"))
    hawaii = Camera.load(str(tmp_path / "hawaii.toml"))
    path = tmp_path / "list.txt"
    rows = table((145507, 13), (145508, 13))
    mjd_obs = pa.array([56232.25, 56232.65])  # 1 November 2012, 6:00 and 15:36 UTC: both in the night of 31 October
    rows = rows.set_column(rows.schema.get_field_index("mjd_obs"), VETO.field("mjd_obs"), mjd_obs)
    write_veto(VetoList(rows, 0, RULE, hawaii), path, "des")
    assert [line.split()[0] for line in path.read_text().splitlines()[3:]] == ["20121031", "20121031"]
    read = read_list(path, hawaii)
    assert read["mjd_obs"].to_pylist() == pytest.approx([56231 + 22.36 / 24 + 0.5] * 2)
    write_veto(VetoList(read, 0, RULE, hawaii), path, "des")
    assert [line.split()[0] for line in path.read_text().splitlines()[3:]] == ["20121031", "20121031"]


def test_time_that_is_no_mjd_is_an_unknown_night_of_the_list(tmp_path):
    times = [0.0, -1.0, 20170316.0, 2457828.76, float("nan"), None, 57828.26]
    rows = table(*((145507 + k, 13) for k in range(len(times))))
    rows = rows.set_column(rows.schema.get_field_index("mjd_obs"), VETO.field("mjd_obs"), pa.array(times))
    write_veto(VetoList(rows, 0, RULE, CAMERA), tmp_path / "list.txt", "des")
    nights = [line.split()[0] for line in (tmp_path / "list.txt").read_text().splitlines() if line[0] != "#"]
    assert nights == ["nan"] * 6 + ["20170315"]


def ccd_tables():
    from cascade.runs.tables import CCDS, EXPOSURES

    fractions = {name: 0.0 for name in CCDS.names if name.endswith("_fraction")}
    fractions |= {"area_fraction": 0.5, "bright_fraction": 0.5}
    ccds = [
        {"exposure": k, "expnum": expnum, "ccdnum": n, "detpos": CAMERA.detpos(n), **fractions, "max_score": 0.9}
        for k, (expnum, n) in enumerate([(300000, 2), (300000, 13), (700000, 13), (700000, 14)])
    ]
    exposures = [{"exposure": k, "path": "x", "flagged": True, "n_artifacts": 1, "status": "ghosted"} for k in range(4)]
    return pa.Table.from_pylist(ccds, CCDS), pa.Table.from_pylist(exposures, EXPOSURES)


@pytest.mark.parametrize(
    ("rule", "listed"),
    [
        (VetoRule(), [(300000, 13), (700000, 13), (700000, 14)]),
        (VetoRule(keep_dead=True), [(300000, 2), (300000, 13), (700000, 13), (700000, 14)]),
        (VetoRule(min_ccds=2), [(700000, 13), (700000, 14)]),
        (VetoRule(min_ccds=3), []),
    ],
)
def test_rule_says_how_many_ccds_and_whether_dead_ones_count(rule, listed):
    assert pairs(veto_rows(*ccd_tables(), rule, CAMERA).table) == listed
