"""Run directories as older versions wrote them."""

from __future__ import annotations

import hashlib
import json
import shutil

from cascade.runs.coordinates import COORDINATES, POSITIONS
from cascade.runs.files import entry_bytes, entry_key, read_run_json, recorded_files, write_run_json
from cascade.runs.run import Run
from cascade.storage.atomic import json_bytes


def to_format_3(run: Run) -> None:
    """Make a run one of format 3: its masks have no coordinates."""
    group = run.path / "masks.zarr"
    for name in (POSITIONS, *COORDINATES):
        shutil.rmtree(group / name, ignore_errors=True)
    for file, lost in ((group / "zarr.json", "Conventions"), (group / "mask" / "zarr.json", "coordinates")):
        content = json.loads(file.read_text())
        del content["attributes"][lost]
        file.write_bytes(json_bytes(content))
    for index, entry in zip(run.done(), run.entries(run.done()), strict=True):
        files = {key: sha256 for key, sha256 in entry.files.items() if (run.path / key).exists()}
        run.storage.write(entry_key(index), entry_bytes(entry.counts, files))
    header = read_run_json(run.storage)
    kept = [key for key in recorded_files(header) if (run.path / key).exists()]
    files = {key: hashlib.sha256((run.path / key).read_bytes()).hexdigest() for key in kept}
    write_run_json(run.storage, {**header, "format_version": 3, "files": files})
