"""Every file of a run, changed in some way: verify notices, and no reader gives anything else without an error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fakes import FakeReader, FakeScreener, FakeSegmenter, config

from cascade.camera import Camera
from cascade.core.errors import CascadeError
from cascade.inputs.listing import list_inputs
from cascade.pipeline.batch import run_serial
from cascade.runs.run import Run, open_run
from cascade.runs.tables import SCHEMAS
from cascade.runs.verify import verify_run


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    reader = FakeReader()
    run = Run.create_or_resume(tmp_path_factory.mktemp("RUN"), config(reader), listing=list_inputs(reader))
    run_serial(reader, run, FakeScreener(), FakeSegmenter(), Camera.decam())
    return Path(run.path)


def content(path: Path) -> list:
    """All that readers give."""
    run = open_run(path)
    masks = run.dataset().load()
    tables = [run.table(name).to_pylist() for name in SCHEMAS]
    arrays = [(name, array.values.tobytes(), array.attrs) for name, array in sorted(masks.variables.items())]
    return [*tables, *arrays, run.listing().to_pylist()]


def mutations(file: Path, rng: random.Random) -> dict[str, bytes | None]:
    """What a file may become; None: it is gone."""
    data = file.read_bytes()
    flipped = bytearray(data)
    flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    changed = {"gone": None, "empty": b"", "torn": data[: len(data) // 2], "flipped": bytes(flipped)}
    beside = sorted(one for one in file.parent.iterdir() if one.is_file() and one.read_bytes() != data)
    return changed | ({"another": rng.choice(beside).read_bytes()} if beside else {})


def test_every_change_of_every_file_is_noticed(path):
    before = content(path)
    assert verify_run(open_run(path)) == []
    rng = random.Random(18)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.parent.name not in ("lease", "logs"))
    assert len(files) > 30
    for file in files:
        whole = file.read_bytes()
        for kind, data in mutations(file, rng).items():
            file.unlink() if data is None else file.write_bytes(data)
            what = f"{file.relative_to(path)}: {kind}"
            try:
                assert verify_run(open_run(path)), what
                if file.name != "run.json" or kind != "flipped":  # a word may stay one, and open_run warns
                    assert content(path) == before, what
            except CascadeError:
                pass
            file.write_bytes(whole)
