"""Where a veto list comes from, as it says itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from cascade.core.errors import printable
from cascade.core.versions import installed_versions

_MERGED = re.compile(r"\| merged (\[.*\])\s*$")


@dataclass(frozen=True, slots=True)
class Provenance:
    """
    What made a list; the same run and the same lists give the same text.

    Attributes
    ----------
    run
        The run directory, as the user named it.
    completed
        When the run was completed, ISO 8601; the date of the list. None if it was not.
    models
        Of each network: its task, its name and the sha256 of its weights.
    merged
        Names of the lists that were merged, now or when it was written before.
    """

    run: str
    completed: str | None = None
    models: tuple[tuple[str, str, str], ...] = ()
    merged: tuple[str, ...] = ()

    @classmethod
    def of_run(cls, header: Mapping[str, Any], run: str) -> Self:
        """From what ``run.json`` says."""
        networks = [(task, header["config"].get(task)) for task in ("screen", "segment")]
        models = tuple((task, str(found["name"]), str(found["sha256"])) for task, found in networks if found)
        return cls(run, header.get("finished"), models)

    def merging(self, names: Iterable[str]) -> Self:
        """The same with the names of more lists that were merged, each once."""
        return replace(self, merged=tuple(dict.fromkeys((*self.merged, *names))))

    def items(self) -> dict[str, str]:
        """Names and values, for the headers of tables."""
        items = {"cascade": installed_versions().get("ghost-cascade", "unknown"), "run": printable(self.run)}
        if self.completed:
            items["completed"] = self.completed
        for task, name, sha256 in self.models:
            items |= {task: name, f"{task}_sha256": sha256}
        if self.merged:
            items["merged"] = json.dumps([printable(name) for name in self.merged])
        return items

    def __str__(self) -> str:
        return " | ".join(f"{name} {value}" for name, value in self.items().items())


def merged_names(comment: str) -> tuple[str, ...]:
    """Names of the lists that a comment of ours, or the value of a header, says were merged."""
    found = _MERGED.search(comment)
    try:
        names = json.loads(found[1] if found else comment)
    except ValueError:
        return ()
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
