"""Tests of cascade.veto."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from fakes import instances
from pyarrow import csv, parquet

from cascade import veto
from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, InputError, StoreError
from cascade.core.exposure import Instances
from cascade.core.fractions import fraction_column
from cascade.runs.ccds import ccd_rows
from cascade.runs.tables import CCDS, EXPOSURES
from cascade.veto import VetoRule, read_des, reading, veto_rows, write_veto

CAMERA = Camera.decam()
CLASSES = ",".join(artifact.label for artifact in Artifact)


def box_of(ccdnum):
    rows, columns = np.nonzero(CAMERA.labels == ccdnum)
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def ccds_table(*rows):
    """From (exposure, expnum, ccdnum, area, bright, faint, rays, score)."""
    keys = ["exposure", "expnum", "ccdnum", "area_fraction", "bright_fraction", "faint_fraction", "rays_fraction"]
    dicts = [dict(zip([*keys, "max_score"], row, strict=True)) for row in rows]
    none = {fraction_column(artifact.label): 0.0 for artifact in Artifact}
    return pa.Table.from_pylist([{**none, **row, "detpos": CAMERA.detpos(row["ccdnum"])} for row in dicts], CCDS)


def exposures_table(*rows):
    """From (exposure, expnum, mjd_obs)."""
    rest = {"path": "x", "flagged": True, "n_artifacts": 1, "status": "ghosted"}
    keys = ("exposure", "expnum", "mjd_obs")
    return pa.Table.from_pylist([rest | dict(zip(keys, row, strict=True)) for row in rows], EXPOSURES)


EXPOSURES_2 = exposures_table((0, 158776, 56232.03), (1, 158777, None))


def vetoed(ccds, rule=None, exposures=EXPOSURES_2):
    return veto_rows(ccds, exposures, rule or VetoRule(), CAMERA)


def pairs(vetoes):
    return list(zip(vetoes.table["expnum"].to_pylist(), vetoes.table["ccdnum"].to_pylist(), strict=True))


def test_mask_over_one_ccd_touches_that_ccd_alone():
    rows = ccd_rows(instances((Artifact.BRIGHT, 0.75, *box_of(13))), CAMERA)
    assert [(row.ccdnum, row.detpos, row.max_score) for row in rows] == [(13, "S14", 0.75)]
    assert rows[0].area_fraction == 1.0
    assert rows[0].class_fractions == (1.0, *(0.0 for _ in list(Artifact)[1:]))
    assert rows[0].columns().items() >= {"ccdnum": 13, "bright_fraction": 1.0, "rays_fraction": 0.0}.items()


def test_one_pixel_touches_a_ccd():
    y0, x0, _, _ = box_of(28)
    (row,) = ccd_rows(instances((Artifact.RAYS, 0.5, y0, x0, y0 + 1, x0 + 1)), CAMERA)
    assert row.ccdnum == 28
    assert row.class_fractions[Artifact.RAYS] == pytest.approx(1 / np.count_nonzero(CAMERA.labels == 28))


def test_no_mask_touches_no_ccd():
    assert ccd_rows(Instances.empty(), CAMERA) == []


def test_mask_in_a_gap_touches_no_ccd():
    gap = instances((Artifact.FAINT, 0.9, 0, 0, 400, 400))
    gap.masks[0] &= CAMERA.labels == 0
    assert ccd_rows(gap, CAMERA) == []


def test_overlapping_instances_count_a_pixel_once_and_give_the_higher_score():
    y0, x0, y1, x1 = box_of(35)
    half = (y0 + y1) // 2
    found = instances(
        (Artifact.FAINT, 0.9, y0, x0, y1, x1),
        (Artifact.FAINT, 0.95, y0, x0, half, x1),
        (Artifact.BRIGHT, 0.6, y0, x0, half, x1),
    )
    (row,) = ccd_rows(found, CAMERA)
    assert (row.area_fraction, row.class_fractions[Artifact.FAINT]) == (1.0, 1.0)
    assert row.class_fractions[Artifact.BRIGHT] == (half - y0) / (y1 - y0)
    assert row.max_score == pytest.approx(0.95)


def test_rows_come_by_rising_ccdnum_and_cover_the_focal_plane():
    rows = ccd_rows(instances((Artifact.FAINT, 0.9, 0, 0, 400, 400)), CAMERA)
    assert [row.ccdnum for row in rows] == [ccd.ccdnum for ccd in CAMERA.ccds]
    assert {row.area_fraction for row in rows} == {1.0}


def test_masks_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"expected the camera's shape \(400, 400\), got \(8, 8\)"):
        ccd_rows(Instances.empty((8, 8)), CAMERA)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_area": 1.5}, r"min_area: expected a number in \[0, 1\], got 1.5"),
        ({"min_area": float("nan")}, "min_area: .* got nan"),
        ({"min_score": -0.1}, "min_score: .* got -0.1"),
        ({"classes": ()}, "classes: expected at least one"),
        ({"classes": (Artifact.RAYS, Artifact.RAYS)}, "classes: expected .* each once"),
        ({"min_ccds": 0}, "min_ccds: expected at least 1, got 0"),
    ],
)
def test_rule_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        VetoRule(**options)


def test_no_ccd_touched_no_veto():
    vetoes = vetoed(ccds_table(), VetoRule(min_area=0.0))
    assert vetoes.table.num_rows == vetoes.n_unnamed == 0
    assert vetoes.table.schema.equals(veto.VETO)


def test_fraction_equal_to_the_limit_is_vetoed_and_one_below_is_not():
    ccds = ccds_table((0, 158776, 13, 0.7, 0.7, 0, 0, 0.9), (0, 158776, 14, 0.6999, 0.6999, 0, 0, 0.9))
    assert pairs(vetoed(ccds, VetoRule(min_area=0.7))) == [(158776, 13)]


def test_ccd_untouched_by_the_classes_asked_for_is_not_vetoed_even_at_area_zero():
    ccds = ccds_table((0, 158776, 13, 0.4, 0.4, 0, 0, 0.9), (0, 158776, 14, 0.4, 0.3, 0.0, 0.2, 0.9))
    rays = vetoed(ccds, VetoRule(min_area=0.0, classes=(Artifact.RAYS,)))
    assert pairs(rays) == [(158776, 14)]
    assert rays.table["area_fraction"].to_pylist() == pytest.approx([0.2])


@pytest.mark.parametrize(
    ("classes", "area"),
    [
        (tuple(Artifact), 0.5),
        ((Artifact.FAINT,), 0.1),
        ((Artifact.FAINT, Artifact.BRIGHT), 0.4),
        ((Artifact.RAYS, Artifact.BRIGHT), 0.5),  # 0.3 + 0.4 overlap: no more than all classes together
    ],
)
def test_area_of_some_classes_is_their_sum_but_at_most_that_of_all(classes, area):
    ccds = ccds_table((0, 158776, 13, 0.5, 0.3, 0.1, 0.4, 0.9))
    assert vetoed(ccds, VetoRule(classes=classes)).table["area_fraction"].to_pylist() == pytest.approx([area])


def test_rule_for_a_class_that_the_run_does_not_tell_from_others_is_refused():
    ccds = ccds_table((0, 158776, 13, 0.5, 0.3, 0.1, 0.4, 0.9)).drop_columns("rays_fraction")
    with pytest.raises(ConfigError, match=r"classes: expected some of those of the run, bright, faint.*, got rays"):
        vetoed(ccds, VetoRule(classes=(Artifact.RAYS,)))
    assert pairs(vetoed(ccds, VetoRule(classes=(Artifact.BRIGHT,)))) == [(158776, 13)]


def test_class_that_is_not_known_is_not_lost_by_a_rule_for_all():
    ccds = ccds_table((0, 158776, 13, 0.5, 0.3, 0.1, 0.0, 0.9))
    ccds = ccds.append_column("comet_fraction", pa.array([0.4], pa.float32()))
    with pytest.raises(StoreError, match=r"expected the classes bright, .*rays.*, got bright, .*comet: a rule"):
        vetoed(ccds)
    assert pairs(vetoed(ccds, VetoRule(classes=(Artifact.BRIGHT,)))) == [(158776, 13)]


def test_low_score_is_not_vetoed():
    ccds = ccds_table((0, 158776, 13, 0.5, 0.5, 0, 0, 0.6), (0, 158776, 14, 0.5, 0.5, 0, 0, 0.7))
    assert pairs(vetoed(ccds, VetoRule(min_score=0.7))) == [(158776, 14)]


def test_exposure_processed_twice_gives_one_row_with_the_larger_values():
    ccds = ccds_table((0, 158776, 13, 0.2, 0.2, 0, 0, 0.9), (1, 158776, 13, 0.3, 0.3, 0, 0, 0.8))
    vetoes = vetoed(ccds, exposures=exposures_table((0, 158776, None), (1, 158776, 56232.03)))
    (row,) = vetoes.table.to_pylist()
    assert (row["area_fraction"], row["max_score"]) == pytest.approx((0.3, 0.9))
    assert row["mjd_obs"] == 56232.03


@pytest.mark.parametrize("senseless", [0.0, -1.0, 20121031.0, 2456232.5, float("nan")])
def test_time_that_no_exposure_has_hides_no_good_one(senseless):
    ccds = ccds_table(*((k, 158776, 13, 0.2, 0.2, 0, 0, 0.9) for k in range(3)))
    times = (56232.04, senseless, 56232.03)
    vetoes = vetoed(ccds, exposures=exposures_table(*((k, 158776, time) for k, time in enumerate(times))))
    assert vetoes.table["mjd_obs"].to_pylist() == [56232.03]
    vetoes = vetoed(ccds, exposures=exposures_table(*((k, 158776, senseless) for k in range(3))))
    assert vetoes.table["mjd_obs"].to_pylist() == [None]


def test_permuting_the_tables_changes_nothing():
    ccds = ccds_table(
        (1, 158777, 35, 0.5, 0, 0.5, 0, 0.9), (0, 158776, 14, 0.2, 0.2, 0, 0, 0.6), (0, 158776, 13, 0.1, 0, 0, 0.1, 0.8)
    )
    vetoes = vetoed(ccds)
    assert pairs(vetoes) == [(158776, 13), (158776, 14), (158777, 35)]
    assert vetoed(ccds.take([2, 0, 1]), exposures=EXPOSURES_2.take([1, 0])).table.equals(vetoes.table)


def test_dead_ccds_are_left_out_in_the_exposures_in_which_they_were_dead():
    ccds = ccds_table(
        (0, 300000, 2, 0.5, 0.5, 0, 0, 0.9), (0, 300000, 61, 0.5, 0.5, 0, 0, 0.9), (1, 700000, 2, 0.5, 0.5, 0, 0, 0.9)
    )
    vetoes = vetoed(ccds, exposures=exposures_table((0, 300000, None), (1, 700000, None)))
    assert pairs(vetoes) == [(700000, 2)]


def test_exposure_without_a_number_is_counted_but_not_listed():
    ccds = ccds_table((0, None, 13, 0.5, 0.5, 0, 0, 0.9), (1, 158777, 13, 0.5, 0.5, 0, 0, 0.9))
    vetoes = vetoed(ccds, exposures=exposures_table((0, None, 56232.0), (1, 158777, None)))
    assert pairs(vetoes) == [(158777, 13)]
    assert vetoes.n_unnamed == 1


TWO_VETOES = ccds_table((1, 158777, 38, 0.25, 0, 0.25, 0, 0.5), (0, 158776, 13, 0.5, 0.5, 0, 0, 0.75))


# sha256sum of the two lines that are ours.
DIGEST = "e43a58260d405985"


def test_des_list_is_written_as_des_wrote_it(tmp_path):
    write_veto(vetoed(TWO_VETOES), tmp_path / "list.txt", "des")
    assert (tmp_path / "list.txt").read_text().splitlines() == [
        "#date expnum ccd id ccdnum",
        f"# cascade veto min_area=0.05 classes={CLASSES} min_score=0 min_ccds=1 dead_ccds=out",
        f"# the next 2 lines are cascade's (sha256 {DIGEST}): it rewrites them, and leaves all others as they are",
        "20121031 158776 nan S14 13",
        f"nan 158777 nan {CAMERA.detpos(38)} 38",
    ]


def test_des_list_is_read_back_as_it_was_written(tmp_path):
    vetoes = vetoed(TWO_VETOES)
    write_veto(vetoes, tmp_path / "list.txt", "des")
    read = read_des(tmp_path / "list.txt")
    same = ["expnum", "ccdnum", "detpos"]
    assert read.select(same).to_pylist() == vetoes.table.select(same).to_pylist()
    assert read["date"].to_pylist() == [date(2012, 10, 31), None]


def test_real_exclude_lists_with_hand_added_rows_and_comments_can_be_read(tmp_path):
    path = tmp_path / "ghost-scatter-y1.txt"
    path.write_text(
        "#date expnum ccd id ccdnum\n20121101 145507 66 S14 13\n# from the eyeball squad\n\n"
        "20121103 146001 nan nan 28  # by hand\nnan 158776 nan N7 38\n"
    )
    assert [tuple(row.values()) for row in read_des(path).to_pylist()] == [
        (date(2012, 11, 1), 145507, 66, "S14", 13),
        (date(2012, 11, 3), 146001, None, None, 28),
        (None, 158776, None, "N7", 38),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("20121101 145507 66 S14", "list.txt:2: expected 'date expnum ccd id ccdnum', got '20121101 145507 66 S14'"),
        ("20121341 145507 66 S14 13", r"list.txt:2: .*\(expected a date YYYYMMDD, got '20121341'"),
        ("121101 145507 66 S14 13", r"list.txt:2: .*\(expected a date YYYYMMDD, got '121101'"),
        ("20121101 nan 66 S14 13", r"list.txt:2: .*\(expected a number below 9\d+, got 'nan'"),
        ("20121101 145507 66 S14 40000", r"list.txt:2: .*\(expected a number below 32768, got '40000'"),
        ("20121101 145507 x S14 13", r"list.txt:2: .*\(expected a number below 9\d+, got 'x'"),
    ],
)
def test_malformed_line_of_an_exclude_list_is_named(tmp_path, line, message):
    path = tmp_path / "list.txt"
    path.write_text(f"#date expnum ccd id ccdnum\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_des(path)


def test_exclude_list_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"list.txt: expected text"):
        read_des(tmp_path / "list.txt")


def test_exclude_list_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_MAX_BYTES", 10)
    (tmp_path / "list.txt").write_text("#date expnum ccd id ccdnum\n")
    with pytest.raises(InputError, match="at most 10 bytes, got more"):
        read_des(tmp_path / "list.txt")


def test_parquet_list_is_read_back_as_it_was_written_with_the_rule(tmp_path):
    vetoes = vetoed(TWO_VETOES)
    write_veto(vetoes, tmp_path / "veto.parquet", "parquet")
    read = parquet.read_table(tmp_path / "veto.parquet")
    assert read.equals(vetoes.table)
    assert read.schema.metadata[b"rule"].decode() == str(vetoes.rule)


def test_csv_list_is_read_back_as_it_was_written(tmp_path):
    vetoes = vetoed(TWO_VETOES)
    write_veto(vetoes, tmp_path / "veto.csv", "csv")
    read = csv.read_csv(tmp_path / "veto.csv", csv.ReadOptions(skip_rows=1))
    assert read.cast(veto.VETO).equals(vetoes.table)
    comment, names = (tmp_path / "veto.csv").read_text().splitlines()[:2]
    assert comment == f"# cascade veto {vetoes.rule}"
    assert names == "expnum,ccdnum,detpos,area_fraction,max_score,mjd_obs,reason,analyst"


@pytest.mark.parametrize("format_", list(veto.FORMATS))
def test_empty_list_can_be_written(tmp_path, format_):
    write_veto(vetoed(ccds_table()), tmp_path / "veto", format_)
    assert (tmp_path / "veto").is_file()


def test_unknown_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected one of csv, parquet, des, fits, legacy, got 'xls'"):
        write_veto(vetoed(TWO_VETOES), tmp_path / "veto.xls", "xls")
    assert not list(tmp_path.iterdir())


def test_interrupted_write_leaves_the_old_list_and_no_half_file(tmp_path, monkeypatch):
    path = tmp_path / "veto.txt"
    path.write_text("old")

    def interrupted(aside, data):
        aside.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_veto(vetoed(TWO_VETOES), path, "des")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
