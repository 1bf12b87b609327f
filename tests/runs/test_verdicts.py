from __future__ import annotations

import os
import sqlite3
import threading

import numpy as np
import pytest
from looked_at import DECAM, looked_at
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, InputError, StoreError
from cascade.core.via import read_via
from cascade.export import export_run
from cascade.runs.tables import SCHEMAS
from cascade.runs.verdicts import (
    NewVerdict,
    VerdictLog,
    doubts,
    log_folder,
    opinions,
    read_verdicts,
    reviewed_run,
    reviewed_tables,
    standing,
    subject,
    verdict_log,
)
from cascade.runs.verdicts.log_schema import SCHEMA
from cascade.storage import open_storage

SQUARE = ((20.0, 180.0), (60.0, 180.0), (60.0, 220.0), (20.0, 220.0))
NEARLY = ((21.0, 181.0), (60.0, 180.0), (60.0, 220.0), (20.0, 220.0))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return looked_at(tmp_path_factory.mktemp("looked-at"))


@pytest.fixture
def run(shared):
    (shared.storage.folder / "verdicts.sqlite").unlink(missing_ok=True)
    return shared


def subject_of(run, exposure):
    row = run.table("exposures").to_pylist()[exposure]
    return subject(row, [a for a in run.table("artifacts").to_pylist() if a["exposure"] == exposure])


class Reviewer:
    """Says things about a run."""

    def __init__(self, run, name):
        self.run, self.name, self.log, self.n = run, name, VerdictLog(run.storage.folder), 0

    def __call__(self, action, exposure, **more):
        self.n += 1
        known = subject_of(self.run, exposure)
        return self.log.append(NewVerdict(f"{self.name}-{self.n}", self.name, exposure, known, action, **more))


def tables(run):
    return {name: run.table(name) for name in SCHEMAS}


def opinion(run, exposure, name="Ada"):
    return opinions(read_verdicts(run.storage))[exposure][name]


def test_a_run_that_nobody_judged_has_no_verdicts(run):
    assert read_verdicts(run.storage) == []
    assert not (run.storage.folder / "verdicts.sqlite").exists()
    with pytest.raises(StoreError, match="expected verdicts, got none"):
        reviewed_run(run)


def test_the_log_can_neither_be_changed_nor_shortened(run):
    Reviewer(run, "Ada")("accept", 1)
    with sqlite3.connect(run.storage.folder / "verdicts.sqlite") as connection:
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            connection.execute("UPDATE verdicts SET action = 'reject'")
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            connection.execute("DELETE FROM verdicts")
    connection.close()


def test_a_verdict_sent_twice_counts_once(run):
    log = VerdictLog(run.storage.folder)
    verdict = NewVerdict("one", "Ada", 1, subject_of(run, 1), "accept")
    assert log.append(verdict) == log.append(verdict)
    assert len(log.verdicts()) == 1
    assert log.undo("Ada", "two") == log.undo("Ada", "two")
    assert [v.action for v in log.verdicts()] == ["accept", "undo"]


def test_undo_takes_back_ones_own_last_verdict_that_stands(run):
    ada, bob = Reviewer(run, "Ada"), Reviewer(run, "Bob")
    ada("accept", 1)
    ada("reject", 2)
    bob("accept", 2)
    assert ada.log.undo("Ada", "u1").exposure == 2
    assert ada.log.undo("Ada", "u2").exposure == 1
    assert ada.log.undo("Ada", "u3") is None
    assert opinions(read_verdicts(run.storage)).keys() == {2}
    assert opinion(run, 2, "Bob").judgement == "accepted"


def test_two_reviewers_at_once_lose_nothing(run):
    known = subject_of(run, 1)

    def judge(name):
        log = VerdictLog(run.storage.folder)
        for n in range(20):
            log.append(NewVerdict(f"{name}{n}", name, 1, known, "accept"))

    threads = [threading.Thread(target=judge, args=(name,)) for name in ("Ada", "Bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = read_verdicts(run.storage)
    assert [sum(v.reviewer == name for v in said) for name in ("Ada", "Bob")] == [20, 20]
    assert [v.id for v in said] == list(range(1, 41))


def test_a_reject_hides_what_came_before_and_an_accept_brings_it_back(run):
    ada = Reviewer(run, "Ada")
    drawn = ada("draw", 2, class_=Artifact.FAINT, polygon=SQUARE)
    ada("reject", 2)
    assert (opinion(run, 2).judgement, opinion(run, 2).drawn) == ("rejected", ())
    ada("draw", 2, class_=Artifact.RAYS, polygon=SQUARE)
    assert (opinion(run, 2).judgement, len(opinion(run, 2).drawn)) == ("corrected", 1)
    assert not opinion(run, 2).keeps("m0")
    ada("accept", 2)
    assert opinion(run, 2).drawn[0].name == f"d{drawn}"
    assert opinion(run, 2).keeps("m0")


def test_what_is_drawn_can_be_renamed_and_deleted(run):
    ada = Reviewer(run, "Ada")
    name = f"d{ada('draw', 1, class_=Artifact.FAINT, polygon=SQUARE)}"
    ada("class", 1, artifact=name, class_=Artifact.RAYS)
    assert opinion(run, 1).drawn[0].class_ is Artifact.RAYS
    ada("delete", 1, artifact=name)
    assert opinions(read_verdicts(run.storage)) == {}  # as if nothing had been said


def test_an_accepted_exposure_stays_as_it_is_but_for_its_scores(run):
    Reviewer(run, "Ada")("accept", 2)
    before, after = tables(run), reviewed_run(run).tables
    assert after["exposures"].equals(before["exposures"])
    assert after["ccds"].drop(["max_score"]).equals(before["ccds"].drop(["max_score"]))
    scores = [row["score"] for row in after["artifacts"].to_pylist() if row["exposure"] == 2]
    assert scores == [1.0, 1.0]
    assert standing(before, read_verdicts(run.storage)) == {2: "accepted"}


def test_a_rejected_exposure_is_clean(run):
    Reviewer(run, "Ada")("reject", 2)
    after = reviewed_run(run).tables
    assert after["exposures"].to_pylist()[2]["status"] == "clean"
    assert after["exposures"].to_pylist()[2]["artifact_area"] == 0
    assert not {2} & set(after["ccds"]["exposure"].to_pylist()) | {2} & set(after["artifacts"]["exposure"].to_pylist())
    assert standing(tables(run), read_verdicts(run.storage)) == {2: "rejected"}


def test_corrections_reach_the_ccd_table(run):
    ada = Reviewer(run, "Ada")
    ada("class", 2, artifact="m0", class_=Artifact.BRIGHT)
    ada("delete", 2, artifact="m1")
    ada("draw", 3, class_=Artifact.RAYS, polygon=SQUARE)
    after = reviewed_run(run).tables
    rows = [row for row in after["ccds"].to_pylist() if row["exposure"] == 2]
    assert rows
    assert all(row["bright_fraction"] == row["area_fraction"] and row["faint_fraction"] == 0 for row in rows)
    (drawn,) = (row for row in after["artifacts"].to_pylist() if row["exposure"] == 3)
    assert [drawn[side] for side in ("y0", "x0", "y1", "x1")] == [180, 20, 220, 60]
    assert drawn["area_px"] == 1600
    assert after["exposures"].to_pylist()[3]["status"] == "ghosted"
    order = after["artifacts"]["exposure"].to_numpy()
    assert np.all(np.diff(order) >= 0)


def test_of_two_reviewers_who_disagree_the_one_who_sees_a_ghost_counts(run):
    Reviewer(run, "Ada")("accept", 1)
    Reviewer(run, "Bob")("reject", 1)
    reviewed = reviewed_run(run)
    assert reviewed.n_disputed == 1
    assert reviewed.tables["exposures"].to_pylist()[1]["status"] == "ghosted"
    Reviewer(run, "Cy")("reject", 1)
    reviewed = reviewed_run(run)
    assert reviewed.n_disputed == 0
    assert reviewed.tables["exposures"].to_pylist()[1]["status"] == "clean"


def test_what_two_people_drew_alike_is_one_artifact(run):
    Reviewer(run, "Ada")("draw", 3, class_=Artifact.RAYS, polygon=SQUARE)
    Reviewer(run, "Bob")("draw", 3, class_=Artifact.RAYS, polygon=NEARLY)
    reviewed = reviewed_run(run)
    assert [row["exposure"] for row in reviewed.tables["artifacts"].to_pylist()].count(3) == 1
    assert reviewed.n_disputed == 0


def test_verdicts_on_what_the_run_no_longer_holds_do_not_count(run):
    log = VerdictLog(run.storage.folder)
    log.append(NewVerdict("k", "Ada", 1, "another", "reject"))
    log.append(NewVerdict("l", "Ada", 10**6, "another", "reject"))
    reviewed = reviewed_run(run)
    assert (reviewed.judged, reviewed.n_stale) == ({}, 2)
    assert reviewed.tables["ccds"].equals(run.table("ccds"))


def test_verdicts_leave_the_other_exposures_alone(run):
    Reviewer(run, "Ada")("reject", 1)
    before, after = tables(run), reviewed_tables(tables(run), read_verdicts(run.storage), DECAM).tables
    for name in SCHEMAS:
        others = [[row for row in t[name].to_pylist() if row["exposure"] != 1] for t in (before, after)]
        assert others[0] == others[1]


def test_the_training_set_holds_what_people_judged(run, tmp_path):
    ada = Reviewer(run, "Ada")
    ada("accept", 2)
    ada("reject", 1)
    ada("draw", 3, class_=Artifact.RAYS, polygon=SQUARE)
    ada("accept", 8)
    Reviewer(run, "Bob")("reject", 8)
    written = export_run(run, "via", tmp_path, reviewed=True)
    assert written.n_exposures == 3
    assert written.skipped["exposures are disputed and left out"] == 1
    regions = read_via(tmp_path / "via.json")
    assert {name: [r.artifact for r in found] for name, found in regions.items()} == {
        "D00700001.png": [],
        "D00700002.png": [Artifact.FAINT, Artifact.RAYS],
        "D00700003.png": [Artifact.RAYS],
    }
    (square,) = regions["D00700003.png"]
    assert square.mask()[180:220, 20:60].all()
    assert square.mask().sum() == 1600
    with pytest.raises(ConfigError, match="reviewed: expected it with the format via"):
        export_run(run, "coco", tmp_path, reviewed=True)


def test_a_veto_list_honours_verdicts_and_says_so(run, tmp_path):
    def veto(*words):
        return CliRunner().invoke(app, ["veto", str(run.path), "--out", str(tmp_path / "veto.csv"), *words])

    assert veto().exit_code == 0
    assert "700002," in (tmp_path / "veto.csv").read_text()
    assert "expected verdicts, got none; use cascade review" in veto("--reviewed").output
    Reviewer(run, "Ada")("reject", 2)
    result = veto("--reviewed", "--min-score", "0.99")
    assert "1 exposures as people judged them" in result.output
    text = (tmp_path / "veto.csv").read_text()
    assert "700002," not in text
    assert " reviewed=yes | " in text.splitlines()[0]


def test_networks_that_contradict_each_other_are_in_doubt(run):
    doubt = doubts(run.table("exposures"), run.table("artifacts"))
    assert doubt[3] == pytest.approx(1 - abs(0.55 + 3 / 60 - 1))  # flagged, and nothing found
    assert doubt[0] == 0
    assert doubt[5] == 0  # failed
    assert doubt[1] < doubt[3]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"reviewer": ""}, "reviewer: expected a name"),
        ({"reviewer": "x" * 61}, "reviewer: expected a name"),
        ({"reviewer": "a\nb"}, "reviewer: expected a name"),
        ({"key": ""}, "key: expected"),
        ({"key": "\ud800"}, "key: expected"),
        ({"action": "undo"}, "action: expected one of"),
        ({"action": "delete"}, "delete: expected"),
        ({"action": "accept", "artifact": "m0"}, "accept: expected"),
        ({"action": "draw", "class_": Artifact.RAYS, "polygon": SQUARE[:2]}, "3 to 500 corners, got 2"),
        ({"action": "draw", "class_": Artifact.RAYS, "polygon": ((0, 0), (0, 401), (1, 1))}, "one outside"),
        ({"action": "draw", "class_": Artifact.RAYS, "polygon": ((0, 0), (0, float("nan")), (1, 1))}, "one outside"),
    ],
)
def test_what_is_no_verdict_is_refused(changes, problem):
    with pytest.raises(InputError, match=problem):
        NewVerdict(**{"key": "k", "reviewer": "Ada", "exposure": 1, "subject": "s", "action": "accept", **changes})


def test_a_log_of_another_kind_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "verdicts.sqlite") as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(StoreError, match="expected a log of version 2, got 7"):
        VerdictLog(tmp_path)
    (tmp_path / "verdicts.sqlite").write_bytes(b"no database at all, but long enough to be one" * 40)
    with pytest.raises(StoreError, match="expected a log of verdicts"):
        VerdictLog(tmp_path)


def test_a_damaged_log_cannot_be_read(run):
    (run.storage.folder / "verdicts.sqlite").write_bytes(b"no database at all" * 99)
    with pytest.raises(StoreError, match="expected a log of verdicts"):
        read_verdicts(run.storage)


def test_a_log_whose_bytes_were_changed_is_refused(storage):
    VerdictLog(storage.folder).append(NewVerdict("l", "Bo", 2, "s", "reject"))
    assert [verdict.reviewer for verdict in read_verdicts(storage)] == ["Ada", "Bo"]
    never = "CREATE TRIGGER never_updated BEFORE UPDATE ON verdicts"
    change(storage, "DROP TRIGGER never_updated", "UPDATE verdicts SET reviewer = 'Eda' WHERE id = 1",
           f"{never} BEGIN SELECT RAISE(ABORT, 'verdicts are never changed'); END")  # fmt: skip
    for read in readers(storage):
        with pytest.raises(StoreError, match="expected verdict 1 as it was written, got another: the file was changed"):
            read()


def test_a_log_whose_text_is_none_is_refused(storage):
    path = storage.folder / "verdicts.sqlite"
    data = path.read_bytes()
    for text in (b"never_updated", b"of_exposure"):
        path.write_bytes(data.replace(text, b"\xff" + text[1:]))
        for read in readers(storage):
            with pytest.raises(StoreError, match=r"verdicts.sqlite: expected "):
                read()


def test_a_log_that_lost_a_verdict_is_refused(storage):
    VerdictLog(storage.folder).append(NewVerdict("l", "Bo", 2, "s", "reject"))
    never = "CREATE TRIGGER never_deleted BEFORE DELETE ON verdicts"
    change(storage, "DROP TRIGGER never_deleted", "DELETE FROM verdicts WHERE id = 1",
           f"{never} BEGIN SELECT RAISE(ABORT, 'verdicts are never deleted'); END")  # fmt: skip
    with pytest.raises(StoreError, match="expected verdicts without gaps, got 1 of 2: the file is damaged"):
        read_verdicts(storage)


def test_a_log_of_version_1_is_read_and_written(tmp_path):
    old = SCHEMA.replace(",\n    sha256 TEXT NOT NULL", "")
    connection = sqlite3.connect(tmp_path / "verdicts.sqlite")
    connection.executescript(f"{old} PRAGMA user_version = 1")
    names = "key, time, reviewer, exposure, subject, action"
    connection.execute(f"INSERT INTO verdicts ({names}) VALUES ('k', 't', 'Ada', 1, 's', 'accept')")
    connection.commit()
    connection.close()
    log = VerdictLog(tmp_path)
    assert log.append(NewVerdict("l", "Bo", 2, "s", "reject")) == 2
    assert [verdict.reviewer for verdict in read_verdicts(open_storage(tmp_path))] == ["Ada", "Bo"]
    assert log.undo("Bo", "m").id == 2


@pytest.fixture
def storage(tmp_path):
    """A folder with a log of one verdict."""
    VerdictLog(tmp_path).append(NewVerdict("k", "Ada", 1, "s", "accept"))
    return open_storage(tmp_path)


def change(storage, *statements):
    """Change a log as a program of somebody else would."""
    connection = sqlite3.connect(storage.folder / "verdicts.sqlite", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def readers(storage):
    return [lambda: read_verdicts(storage), lambda: VerdictLog(storage.folder).verdicts()]


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (("ALTER TABLE verdicts RENAME TO v", "CREATE VIEW verdicts AS SELECT * FROM v"), "index of_exposure"),
        (("CREATE TABLE more (x)",), "table more"),
        (("CREATE TRIGGER mine AFTER INSERT ON verdicts BEGIN SELECT 1; END",), "trigger mine"),
        (("DROP TRIGGER never_updated",), "trigger never_updated"),
    ],
)
def test_a_log_with_tables_of_others_is_refused(storage, statements, found):
    change(storage, *statements)
    for read in readers(storage):
        with pytest.raises(StoreError, match=f"expected the tables of a log of verdicts, got another {found}"):
            read()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ("action = 'draw', class = 'rays', polygon = '" + "[" * 100_000 + "'", "row 1: maximum recursion depth"),
        ("action = 'draw', class = 'rays', polygon = '[[1, 2]]'", "row 1: polygon: expected 3 to 500 corners"),
        ("action = 'draw', class = 'rays', polygon = '{}'", "row 1: polygon: expected 3 to 500 corners"),
        ("exposure = 'one'", "row 1: a value of another type"),
        ("reviewer = x'00ff'", "row 1: a value of another type"),
        ("class = 7", "row 1: "),
        ("action = 'sing'", "row 1: action: expected one of"),
        ("reviewer = 'A' || char(10) || 'B'", "row 1: reviewer: expected a name"),
        ("subject = hex(zeroblob(600000))", "string or blob too big"),
    ],
)
def test_rows_that_this_program_does_not_write_are_refused(storage, values, problem):
    never = "BEFORE UPDATE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts are never changed'); END"
    trigger = f"CREATE TRIGGER never_updated {never}"
    change(storage, "DROP TRIGGER never_updated", f"UPDATE verdicts SET {values}", trigger)
    for read in readers(storage):
        with pytest.raises(StoreError, match=problem):
            read()


@pytest.mark.parametrize("name", ["verdicts.sqlite", "verdicts.sqlite-wal", "verdicts.sqlite-journal"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_log_that_is_no_plain_file_is_refused(storage, name, kind):
    path = storage.folder / name
    path.unlink(missing_ok=True)
    path.symlink_to(path.with_name("other")) if kind == "link" else os.mkfifo(path)
    for read in readers(storage):
        with pytest.raises(StoreError, match=f"{name}: expected a plain file"):
            read()


def test_runs_on_object_stores_have_no_log():
    storage = open_storage("s3://bucket/RUN")
    assert read_verdicts(storage) == []
    with pytest.raises(ConfigError, match="expected a run on a disk"):
        log_folder(storage)


def test_log_in_a_folder_that_cannot_be_written_is_read(run, monkeypatch):
    anna = Reviewer(run, "anna")
    with sqlite3.connect(run.storage.folder / "verdicts.sqlite") as reading:  # keeps the newest in the -wal file
        reading.execute("SELECT count(*) FROM verdicts").fetchone()
        anna("accept", 2)
        expected = read_verdicts(run.storage)
        read = verdict_log._all_verdicts

        def refusing(path):
            if path.parent == run.storage.folder.absolute():
                msg = "attempt to write a readonly database"
                raise sqlite3.OperationalError(msg)
            return read(path)

        monkeypatch.setattr(verdict_log, "_all_verdicts", refusing)
        with pytest.raises(StoreError, match="expected a log of verdicts, got attempt to write a readonly"):
            read_verdicts(run.storage)
        monkeypatch.setattr(verdict_log.os, "access", lambda _path, _mode: False)
        assert [verdict.action for verdict in read_verdicts(run.storage)] == ["accept"]
        assert read_verdicts(run.storage) == expected
