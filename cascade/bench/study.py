"""Common parts of all studies: provenance, and the three output files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cascade.core.versions import installed_versions
from cascade.networks.models import find_model
from cascade.storage.atomic import write_json, written_aside

Progress = Callable[[str], None]
"""Progress callback: called with a short description of each measurement."""

_DPI = 120
_CPUINFO = Path("/proc/cpuinfo")


def provenance(command: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    """
    Record command, date, machine, versions and models; call it before the study starts.

    Parameters
    ----------
    command : sequence of str
        Command line; absolute paths are reduced to their last part.
    models : sequence of str
        By name or folder.

    Returns
    -------
    dict
        `command`, `date`, `machine`, `load_average` of the last minute, `versions`, and `models` with their sha256.
    """
    words = [_without_folders(word) for word in command]
    return {
        "command": shlex.join(words),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": installed_versions(),
        "models": {info.name: info.sha256 for info in map(find_model, models)},
    }


def _without_folders(word: str) -> str:
    """A word of a command line, or an ``--option=word``, with absolute paths reduced to their last part."""
    option, equals, value = word.rpartition("=")
    return f"{option}{equals}{Path(value).name if Path(value).is_absolute() else value}"


def machine() -> str:
    """Cores, processor and number of GPUs of this machine."""
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
    amx = ", AMX" if any("amx_bf16" in line for line in lines) else ""
    n_gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    gpus = f", {n_gpus} GPU" if n_gpus else ""
    return f"{os.cpu_count()} cores ({name}{amx}){gpus}"


def head(study: Mapping[str, Any]) -> list[str]:
    """Markdown header with the provenance."""
    about = study["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    models = ", ".join(f"{name} ({sha256[:8]})" for name, sha256 in about["models"].items())
    scale = "" if study["scale"] == 1 else f" **A trial run: scale {study['scale']:g} of the full study.**"
    return [
        f"`{about['command']}`, {about['date']}, {about['machine']}, load average {about['load_average']:.1f} at the "
        f"start; {models}; {versions}.{scale}",
        "",
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in (header, *rows)]
    return [lines[0], "|---" * len(header) + "|", *lines[1:], ""]


def write_study(out: Path, name: str, study: Mapping[str, Any], lines: Sequence[str], figure: Figure) -> None:
    """
    Write ``NAME.json``, ``NAME.md`` and ``NAME.png``.

    Parameters
    ----------
    out : Path
        Output folder; created if missing.
    name : str
    study : mapping
        Plain numbers, lists and text.
    lines : sequence of str
        Of Markdown.
    figure : matplotlib.figure.Figure
    """
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", study)
    with written_aside(out / f"{name}.md") as aside:
        aside.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    FigureCanvasAgg(figure)
    figure.savefig(out / f"{name}.png", dpi=_DPI)
