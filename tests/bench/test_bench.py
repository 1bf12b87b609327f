"""The studies' arithmetic, and what is made of their numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from cascade.bench import real_report, roofline_report, scaling_report, seasons_report
from cascade.bench.cost import CostModel, trade_off
from cascade.bench.pool import Pool
from cascade.bench.profiled import profiled
from cascade.bench.scaling import steady_s
from cascade.bench.screening_loss import Marked
from cascade.bench.study import provenance, write_study
from cascade.core.errors import ConfigError

FACTS = {
    "provenance": {
        "command": "cascade bench", "date": "2026-11-22", "machine": "2 cores", "load_average": 0.1,
        "versions": {"numpy": "2.4"}, "models": {"screen-v1": "abcdefgh12"},
    },
    "scale": 0.01,
}  # fmt: skip
ENTRY = {"value": 0.5, "low": 0.4, "high": 0.6}


def test_cost_model_of_exact_points_is_exact():
    model = CostModel.fit([0.0, 0.1, 1.0], [0.002, 0.004, 0.022])
    assert (model.t_screen, model.t_segment) == pytest.approx((0.002, 0.02))
    assert model.worst == pytest.approx(0, abs=1e-9)
    assert model.seconds(0.5) == pytest.approx(0.012)


def test_cost_model_needs_seasons_that_differ():
    with pytest.raises(ConfigError, match="expected seasons with different fractions of flagged exposures"):
        CostModel.fit([0.1, 0.1], [1, 2])


@pytest.mark.parametrize(
    ("recall", "false_alarm_rate", "t_alone", "expected"),
    [
        (1.0, 0.0, 0.02, 0.9),  # flagged = ghosted: 2 + 20 p = 20
        (1.0, 0.1, 0.02, 8 / 9),
        (0.8, 0.0, 0.02, None),  # even if all are ghosted only 80 % are segmented
        (1.0, 0.0, 0.002, 0.0),
        (0.1, 0.1, 0.002, None),  # a screen that tells nothing apart
    ],
)
def test_break_even_prevalence(recall, false_alarm_rate, t_alone, expected):
    model = CostModel(0.002, 0.02, 0.0)
    found = model.break_even(recall, false_alarm_rate, t_alone)
    assert found == (None if expected is None else pytest.approx(expected))


def test_every_threshold_has_its_recall_and_its_cost():
    scores, ghosted = np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, False, True, False])
    found = trade_off(
        scores, ghosted, np.array([3, 0, 1, 0]), np.array([2, 0, 1, 0]), CostModel(0.001, 0.01, 0.0),
        prevalence=0.5, t_alone=0.011,
    )  # fmt: skip
    assert found["threshold"] == [0.9, 0.8, 0.2, 0.1]
    assert found["recall"] == [0.5, 0.5, 1.0, 1.0]
    assert found["ccd_recall"] == [0.75, 0.75, 1.0, 1.0]
    assert found["ccds_lost"] == [0.25, 0.25, 0.0, 0.0]
    assert found["p_flag"] == [0.25, 0.5, 0.75, 1.0]
    assert found["ms"] == pytest.approx([3.5, 6.0, 8.5, 11.0])
    assert found["speed_up"][-1] == 1.0


def test_screen_loses_what_it_calls_clean_and_saves_false_ccds():
    # Four exposures of three CCDs: found and flagged; missed by the screen; clean with a false CCD; clean.
    true = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]], bool)
    found = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]], bool)
    marked = Marked(np.array([300, 100, 0, 0]), dict.fromkeys(("touched", "vetoed"), true),
                    dict.fromkeys(("touched", "vetoed"), found))  # fmt: skip
    told = marked.losses(true.any(axis=1), np.array([True, False, False, False]), n_resamples=50)
    assert (told["n"], told["n_ghosted"], told["n_flagged"]) == (4, 2, 1)
    assert told["ghosted_missed"]["value"] == 0.5
    assert told["area_missed"]["value"] == 0.25
    ccds = told["touched"]
    assert ccds["ccds_unseen"]["value"] == 0.5
    assert ccds["ccds_lost"]["value"] == 0.25  # of the two that are unseen, Mask R-CNN would have found one
    assert (ccds["n_false_alone"], ccds["n_false_prevented"], ccds["n_false_left"]) == (3, 2, 1)
    assert ccds["alone"]["value"] == pytest.approx(2 * 3 / (4 + 6), abs=1e-6)
    assert ccds["cascade"]["value"] == pytest.approx(2 * 2 / (4 + 3), abs=1e-6)
    assert ccds["difference"]["value"] == pytest.approx(4 / 7 - 6 / 10, abs=1e-6)
    assert marked.select(np.array([1])).area_px.tolist() == [100]


def test_season_takes_each_exposure_once_and_spreads_the_ghosted_ones():
    pool = Pool(Path("pool"), n_clean=20, n_ghosted=5)
    chosen = pool.season(10, 0.2)
    assert chosen.tolist() == [0, 1, 2, 3, 20, 4, 5, 6, 7, 21]
    assert pool.ghosted()[chosen].sum() == 2
    assert (pool.season(10, 0.001) >= 20).sum() == 1  # never none


def test_season_larger_than_the_pool_is_refused():
    with pytest.raises(
        ConfigError, match="pool of 20 clean and 5 ghosted exposures: expected enough for a season of 12"
    ):
        Pool(Path("pool"), 20, 5).season(12, 0.5)


def test_facts_keep_no_absolute_path():
    about = provenance(["cascade", "bench", "seasons", "--pool", "/home/me/pool", "--out=/home/me/results"], [])
    assert about["command"] == "cascade bench seasons --pool pool --out=results"
    assert "numpy" in about["versions"]


def test_memory_of_another_process_is_watched():
    seen = profiled(pow, 2, 10)
    assert seen.value == 1024
    assert len(seen.seconds) == len(seen.memory_mb)
    assert profiled(os.getpid).value != os.getpid()


def seasons_study():
    run = {"n": 40, "n_flagged": 4, "p_flag": 0.1, "ms": 3.0, "exposures_per_s": 333.0,
           "stages_ms": dict.fromkeys(("read", "screen", "segment", "tables", "store"), 0.5)}  # fmt: skip
    ccds = {"n_true": 5, **dict.fromkeys(("ccds_unseen", "ccds_lost", "alone", "cascade", "difference"), ENTRY),
            "n_false_alone": 3, "n_false_prevented": 2, "n_false_left": 1}  # fmt: skip
    losses = {"ghosted_missed": ENTRY, "area_missed": ENTRY, "touched": ccds, "vetoed": ccds}
    season = {"cascade": run, "alone": {**run, "ms": 20.0}, "speed_up": 6.7, "same_artifacts": 1.0, "losses": losses}
    paper = {"network": "mrcnn-r101", "engine": "keras float32", "n_images": 1, "images_per_s": 0.25}
    scanned = {"threshold": [0.9, 0.5], "recall": [0.9, 1.0], "ccd_recall": [0.95, 1.0], "speed_up": [20.0, 5.0],
               "ccds_lost": [0.02, 0.01], "false_alarm_rate": [0.0, 0.1]}  # fmt: skip
    return {
        "study": "seasons", "networks": {"screen": "screen-v1", "segment": "segment-v0"}, "threshold": 0.5,
        "pool": {"n_clean": 39, "n_ghosted": 20}, "everything": {**run, "p_flag": 1.0},
        "area_thresholds": {"touched": 0.0, "vetoed": 0.05},
        "seasons": [{"prevalence": prevalence, **season} for prevalence in (0.01, 0.04)], "paper": [paper],
        "all_exposures": losses, "model": {"t_screen_ms": 2.0, "t_segment_ms": 18.0, "worst": 0.03},
        "t_alone_ms": 20.0, "screen": {"recall": 0.99, "false_alarm_rate": 0.01},
        "break_even": {"alone": 0.9, "keras float32": None}, "trade_off": scanned,
    }  # fmt: skip


def roofline_study():
    row = {"network": "screen-v1", "engine": "openvino bf16", "images_per_s": 1000.0, "share_in_network": 0.9,
           "gflop": 1.0, "gflop_per_s": 900.0, "peak_mb": 500.0, "plain": {"gflop_per_s": 1200.0}}  # fmt: skip
    shares = {"parts": {"screen": 1.0}, "layers": {"Convolution": 0.8, "others": 0.2}}
    stages = {"read": 1.0, "screen": 0.5, "segment": 0.4, "tables": 0.1, "store": 0.1}
    return {
        "study": "roofline", "matmul_size": 256, "matmul": {"openvino bf16": 1500.0}, "rows": [row],
        "profiles": {"openvino bf16": [shares, shares]},
        "end_to_end": {"n": 40, "n_flagged": 2, "seconds": 1.2, "exposures_per_s": 33.0, "engines": ["a", "b"],
                       "stages_s": stages, "screen_network_s": 0.4, "segment_network_s": 0.3},
    }  # fmt: skip


def scaling_study():
    memory = {"middle": 400.0, "late": 410.0}
    rows = [{"n": n, "ms": 3.0, "seconds": 1.0, "networks": True, "workers": workers, "peak_mb": 500.0,
             "memory_mb": memory} for n in (100, 1000) for workers in (None, 1, 2)]  # fmt: skip
    return {
        "study": "scaling", "rows": rows, "cluster": [{**rows[0], "workers": w, "ms": 10 / w} for w in (1, 2, 4)],
        "pause_ms": 10.0, "stretch": 1000, "surveys": {"DES DR2": {"n": 76217, "minutes": 3.8}},
    }  # fmt: skip


def real_study():
    f1 = {key: [[value] * 2] * 2 for key, value in ENTRY.items()}
    system = {"f1": f1, "f1_per_exposure": [[0.5, 0.5]] * 2}
    systems = {"cascade": {**system, "seen": True}, "cascade, cross-validated": {**system, "seen": False}}
    return {
        "study": "real", "n": 25, "n_annotators": 8, "groups": ["All", "Rays"], "area_thresholds": [0.0, 0.05],
        "n_flagged": {"cascade": 24}, "n_seen": {"segment-v0": 25}, "systems": systems,
        "differences": {"cascade": f1}, "people": [[0.9, 0.8]] * 2, "people_per_exposure": [[0.9, 0.8]] * 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("report", "study", "words"),
    [
        (seasons_report, seasons_study(), ("6.7x", "t = 2.00 ms + p_flag x 18.0 ms", "up to 90% ghosted",
                                           "0.5 is the highest that loses no more than 1%",
                                           "10.00% of the clean exposures: 5.0x",
                                           "**Extrapolated**: mrcnn-r101", "4.0 s in keras float32", "50.00% [40.00%")),
        (roofline_report, roofline_study(), ("**75%**", "60%", "Convolution 80%", "58% of the time")),
        (scaling_report, scaling_study(), ("333", "400, 410, 500", "DES DR2 (76,217) 3.8 minutes", "100%")),
        (real_report, real_study(), ("0.500 [0.400, 0.600]", "annotators (8, median)", "25 (segment-v0)")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_study_leaves_numbers_a_table_and_a_figure(tmp_path, report, study, words):
    told = {**FACTS, **study}
    name = study["study"]
    write_study(tmp_path, name, told, report.lines(told), report.figure(told))
    text = (tmp_path / f"{name}.md").read_text()
    for word in (*words, "**A trial run: scale 0.01 of the full study.**", "screen-v1 (abcdefgh)"):
        assert word in text
    assert json.loads((tmp_path / f"{name}.json").read_text())["study"] == name
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_pace_leaves_out_the_first_batch_of_every_worker(tmp_path):
    (tmp_path / "logs").mkdir()
    seconds = [9, 10, *range(11, 19)]
    minute = "2026-01-01T00:00:"
    lines = [{"time": f"{minute}{second:02}+00:00", "event": "batch", "n_exposures": 4} for second in seconds]
    lines.append({"time": f"{minute}00+00:00", "event": "start"})
    (tmp_path / "logs" / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert steady_s(tmp_path, 2) == 0.25  # 8 batches in the 8 s from the second commit on
    assert steady_s(tmp_path, 3) is None  # 7 batches for three workers
