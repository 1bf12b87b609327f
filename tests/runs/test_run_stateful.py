"""A run directory through commits, kills, resumptions and additions in any order, against a model in plain Python."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fakes import BRIGHT, CLEAN, OVERLAP, UNREADABLE, FakeReader, FakeScreener, FakeSegmenter, config
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cascade.camera import Camera
from cascade.core.errors import StoreError
from cascade.inputs.listing import list_inputs
from cascade.pipeline.batch import part_of, process_batch
from cascade.runs.config import Batch
from cascade.runs.files import half_written
from cascade.runs.mask_store import read_planes
from cascade.runs.run import Run, open_run
from cascade.runs.verify import verify_run
from cascade.storage.atomic import aside_of
from cascade.storage.local import LocalStorage

CAMERA = Camera.decam()
SIZE = 2  # exposures a batch
MOST_INPUTS = 9

# What the fake networks make of a kind: status, and (class, bit, y0, x0, y1, x1) of its artifacts.
FOUND = {
    CLEAN: ("clean", ()),
    BRIGHT: ("ghosted", (("bright", 1, 100, 120, 150, 180),)),
    OVERLAP: ("ghosted", (("faint", 2, 90, 90, 300, 300), ("rays", 4, 250, 250, 310, 350))),
    UNREADABLE: ("failed", ()),
}
some_kinds = st.lists(st.sampled_from(sorted(FOUND)), min_size=1, max_size=3)


class KilledError(BaseException):
    """The process is gone."""


@dataclass(frozen=True, slots=True, eq=False)
class DyingStorage(LocalStorage):
    """
    A folder whose process is killed at its change number `at`: before it, or halfway, or right after it.

    `changed` has the keys of the changes that were made.
    """

    at: int
    moment: str
    changed: list[str] = field(default_factory=list)

    def write(self, key, data):
        self._do(key, data, lambda: LocalStorage.write(self, key, data))

    def create(self, key, data):
        return self._do(key, data, lambda: LocalStorage.create(self, key, data))

    def delete(self, key):
        self._do(key, b"", lambda: LocalStorage.delete(self, key))

    def _do(self, key, data, change):
        last = len(self.changed) + 1 == self.at
        if last and self.moment == "halfway":
            path = self.folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            aside_of(path).write_bytes(data[: len(data) // 2])
        if last and self.moment != "after":
            raise KilledError
        result = change()
        self.changed.append(key)
        if last:
            raise KilledError
        return result


@dataclass(frozen=True, slots=True, eq=False)
class WatchedStorage(LocalStorage):
    """A folder that somebody looks at before every file that is written."""

    look: object

    def write(self, key, data):
        self.look()
        LocalStorage.write(self, key, data)

    def create(self, key, data):
        self.look()
        return LocalStorage.create(self, key, data)


deaths = st.tuples(st.integers(1, 7), st.sampled_from(["before", "halfway", "after"]))


@cache
def result_of(items, batch):
    """What the fake networks make of exposures (expnum, kind) in the place of a batch."""
    return process_batch(FakeReader(items), batch, FakeScreener(), FakeSegmenter(), CAMERA, 0.7)


def files_of(folder):
    """Every file with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class RunDirectory(RuleBasedStateMachine):
    """`kinds`, `additions`, `done` and `is_finished` are the model; `run` is None while its process is dead."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.kinds: list[int] = []
        self.additions: tuple[int, ...] = ()
        self.done: set[int] = set()
        self.is_finished = False
        self.run: Run | None = None

    def teardown(self):
        shutil.rmtree(self.folder)

    # The model.

    def batches(self):
        """Positions and kinds of every batch, by number."""
        cut, left = [], list(self.kinds)
        for n in (len(self.kinds) - sum(self.additions), *self.additions):
            added, left = left[:n], left[n:]
            cut += [added[start : start + SIZE] for start in range(0, n, SIZE)]
        return {number: list(enumerate(kinds, number * SIZE)) for number, kinds in enumerate(cut)}

    def pending(self):
        return sorted(self.batches().keys() - self.done)

    def exposures(self):
        """(position, kind) of the exposures of finished batches."""
        batches = self.batches()
        return [exposure for number in sorted(self.done) for exposure in batches[number]]

    # The directory.

    def config(self, kinds=None, additions=None):
        kinds, additions = kinds or self.kinds, self.additions if additions is None else additions
        return config(FakeReader(self.items(kinds)), inputs=f"{kinds}", batch_size=SIZE, additions=additions)

    def items(self, kinds):
        return tuple(enumerate(kinds, 101))

    def open(self, storage, kinds=None, additions=None):
        """What a call does with these inputs."""
        listing = list_inputs(FakeReader(self.items(kinds or self.kinds)))
        return Run.create_or_resume(storage, self.config(kinds, additions), listing=listing)

    def batch(self, number):
        """A batch of the run and its result."""
        batch: Batch = self.run.batches()[number]
        part = part_of(FakeReader(self.items(self.kinds)), batch)
        return batch, result_of(part.items, batch)

    def check_tables(self):
        """What is read now, by somebody else, is what the model says."""
        run = open_run(self.folder)
        exposures = self.exposures()
        rows = run.table("exposures").select(["exposure", "status", "n_artifacts"]).to_pylist()
        assert [tuple(row.values()) for row in rows] == [(p, FOUND[k][0], len(FOUND[k][1])) for p, k in exposures]
        columns = ["exposure", "class", "y0", "x0", "y1", "x1"]
        rows = run.table("artifacts").select(columns).to_pylist()
        expected = [(p, class_, *box) for p, k in exposures for class_, _, *box in FOUND[k][1]]
        assert [tuple(row.values()) for row in rows] == expected
        failed = run.table("failures")["exposure"].to_pylist()
        assert failed == [p for p, k in exposures if k == UNREADABLE]

    # What happens to it.

    @initialize(kinds=some_kinds)
    def create(self, kinds):
        self.kinds = kinds
        self.run = self.open(LocalStorage(self.folder))

    @precondition(lambda self: self.run and self.pending())
    @rule(data=st.data())
    def commit(self, data):
        batch, result = self.batch(data.draw(st.sampled_from(self.pending())))
        Run(WatchedStorage(self.folder, self.check_tables), self.run.config).commit(batch, result)
        self.done.add(batch.index)

    @precondition(lambda self: self.run and self.done)
    @rule(data=st.data())
    def commit_again(self, data):
        batch, result = self.batch(data.draw(st.sampled_from(sorted(self.done))))
        before = files_of(self.folder)
        counts = self.run.commit(batch, result)
        assert counts == self.run.entries([batch.index])[0].counts
        assert files_of(self.folder) == before

    @precondition(lambda self: self.run and self.pending())
    @rule(data=st.data(), death=deaths)
    def kill_while_committing(self, data, death):
        batch, result = self.batch(data.draw(st.sampled_from(self.pending())))
        storage = DyingStorage(self.folder, *death)
        try:
            Run(storage, self.run.config).commit(batch, result)
        except KilledError:
            self.run = None
        if f"ledger/batch-{batch.index:05d}.json" in storage.changed:
            self.done.add(batch.index)

    @rule()
    def resume(self):
        self.run = self.open(LocalStorage(self.folder))
        assert half_written(self.run.storage) == []

    @precondition(lambda self: len(self.kinds) < MOST_INPUTS)
    @rule(kinds=some_kinds)
    def grow(self, kinds):
        grown, additions = self.kinds + kinds, (*self.additions, len(kinds))
        self.run = self.open(LocalStorage(self.folder), grown, additions)
        self.kinds, self.additions, self.is_finished = grown, additions, False

    @precondition(lambda self: len(self.kinds) < MOST_INPUTS)
    @rule(kinds=some_kinds, death=deaths)
    def kill_while_growing(self, kinds, death):
        grown, additions = self.kinds + kinds, (*self.additions, len(kinds))
        storage = DyingStorage(self.folder, *death)
        try:
            self.open(storage, grown, additions)
            self.run = open_run(self.folder)  # on a storage that no longer dies
        except KilledError:
            self.run = None
        if "run.json" in storage.changed:
            self.kinds, self.additions, self.is_finished = grown, additions, False

    @precondition(lambda self: self.run and self.done)
    @rule(data=st.data())
    def forget(self, data):
        number = data.draw(st.sampled_from(sorted(self.done)))
        self.run.forget(number)
        self.done.remove(number)
        self.is_finished = False

    @precondition(lambda self: self.run and self.pending())
    @rule()
    def finish_too_early(self):
        with pytest.raises(StoreError, match=f"got {len(self.pending())} pending; resume the run"):
            self.run.finish()

    @precondition(lambda self: self.run)
    @rule()
    def complete(self):
        for number in self.pending():
            self.run.commit(*self.batch(number))
        self.done = set(self.batches())
        assert self.run.summary().status == ("complete" if self.is_finished else "running")
        assert self.run.finish().counts.n_exposures == len(self.kinds)
        assert half_written(self.run.storage) == []
        self.is_finished = True

    # What always holds.

    @invariant()
    def configuration_and_listing_are_those_of_the_inputs(self):
        run = open_run(self.folder)
        assert run.config == self.config()
        assert run.listing().equals(list_inputs(FakeReader(self.items(self.kinds))))

    @invariant()
    def done_and_pending_part_the_batches(self):
        run = open_run(self.folder)
        expected = {number: (exposures[0][0], len(exposures)) for number, exposures in self.batches().items()}
        assert {batch.index: (batch.start, len(batch)) for batch in run.batches()} == expected
        assert run.done() == sorted(self.done)
        assert [batch.index for batch in run.pending()] == self.pending()

    @invariant()
    def tables_are_those_of_the_model(self):
        self.check_tables()

    @invariant()
    def masks_are_those_of_the_model(self):
        run = open_run(self.folder)
        for position, kind in self.exposures():
            plane = np.zeros((400, 400), np.uint8)
            for _, bit, y0, x0, y1, x1 in FOUND[kind][1]:
                plane[y0:y1, x0:x1] |= bit
            assert np.array_equal(read_planes(run.storage, position, position + 1)[0], plane)

    @invariant()
    def the_summary_counts_finished_batches(self):
        summary = open_run(self.folder).summary()
        assert (summary.n_done, summary.n_batches) == (len(self.done), len(self.batches()))
        assert summary.status == ("complete" if self.is_finished and not self.pending() else "running")
        assert summary.counts.n_exposures == len(self.exposures())

    @invariant()
    def verification_finds_nothing(self):
        assert verify_run(open_run(self.folder)) == []


TestRunDirectory = RunDirectory.TestCase
TestRunDirectory.settings = settings(max_examples=20, stateful_step_count=12, deadline=None)


def test_run_killed_twice_while_growing_is_whole():
    machine = RunDirectory()
    machine.create(kinds=[-1])
    machine.complete()
    machine.kill_while_growing(death=(5, "before"), kinds=[-1])  # the new metadata of the masks, but not its hash
    machine.kill_while_growing(death=(3, "before"), kinds=[-1])
    machine.verification_finds_nothing()
    machine.teardown()
