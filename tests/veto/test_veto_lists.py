"""Tests of cascade.veto's lists: every format out and in, merging, comparing."""

from pathlib import Path

import pyarrow as pa
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError
from cascade.veto import (
    FORMATS,
    VETO,
    VetoList,
    VetoRule,
    compare_lists,
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
    labels = ",".join(artifact.label for artifact in Artifact)
    assert f"min_area=0.1 classes={labels} min_score=0 min_ccds=1 dead_ccds=out" in text.replace("\n", "")


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 62)), max_size=12),
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
        assert data["ANALYST"].tolist() == ["hand", "cascade", "cascade"]
        assert "cascade veto min_area=0.1" in str(file[1].header["COMMENT"]).replace("\n", "")


def test_expnum_that_the_compiled_table_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="exposure numbers of at most 2147483647"):
        write_veto(veto_list((2**31, 5)), tmp_path / "list.fits", "fits")


def test_compiled_table_needs_astropy(tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.veto.tables.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="expected the package astropy"):
        write_veto(MIXED, tmp_path / "list.fits", "fits")


def test_list_of_bad_exposures_gives_reasons(tmp_path):
    write_veto(veto_list((145507, 13), (145507, 14), (158776, 62)), tmp_path / "bad_expid.txt", "legacy")
    assert (tmp_path / "bad_expid.txt").read_text().splitlines()[2:] == [
        "145507 cascade: ghost/scatter on 2 CCDs: S14 S15",
        "158776 cascade: ghost/scatter on 1 CCDs: N31",
    ]


def test_csv_with_comments_in_the_middle_and_capital_names_is_read(tmp_path):
    (tmp_path / "a.csv").write_text(
        "#compiled\nEXPNUM,CCDNUM,REASON,ANALYST\n145507,13,Streak,Bechtol\n# x\n145508,14,,\n"
    )
    listed = read_list(tmp_path / "a.csv", CAMERA)
    assert listed["reason"].to_pylist() == ["Streak", "Ghost/Scatter"]
    assert listed["analyst"].to_pylist() == ["Bechtol", "hand"]


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
