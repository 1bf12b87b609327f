"""
Size and speed of the report of a season: `python benchmarks/report_speed.py --out benchmarks/results`.

Writes a run of simulated tables (76,000 exposures, 3,000 of them flagged, with previews and masks), reports it, opens
the page in a headless Chromium, and writes `report.json` and `report.md`. CPU seconds are given beside wall-clock
seconds, as they depend less on other load.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import HeaderFields, Instances, Source, tight_boxes
from cascade.inputs import open_inputs
from cascade.inputs.listing import list_inputs
from cascade.pages.report import write_report
from cascade.runs.config import RunConfig
from cascade.runs.rows import Finding, Outcome, batch_counts, batch_tables, finding_of, mask_planes
from cascade.runs.run import Run
from cascade.runs.tables import BatchResult

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from browser import chromium, find_chromium

N_EXPOSURES, N_FLAGGED = 76_000, 3_000
N_SKIES = 64  # distinct previews
N_FINDINGS = 200  # distinct sets of artifacts
FIRST_EXPNUM = 150_000
SCROLLS = 60


def write_previews(path: Path, n_exposures: int, flagged: np.ndarray) -> None:
    """Write a sparse stack of previews, in which only the flagged ones take disk space."""
    stack = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n_exposures, 400, 400))
    rng = np.random.default_rng(1)
    camera = Camera.decam()
    skies = [
        (np.clip(rng.normal(54, 12, camera.shape), 0, 255) * (camera.labels > 0)).astype(np.uint8)
        for _ in range(N_SKIES)
    ]
    for k, row in enumerate(flagged):
        stack[row] = skies[k % N_SKIES]
    stack.flush()


def findings(camera: Camera) -> list[Finding]:
    """Sets of one to six ellipses, with ragged edges like masks of a network."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:400, :400]
    found = []
    for _ in range(N_FINDINGS):
        n = int(rng.integers(1, 7))
        masks = np.zeros((n, 400, 400), bool)
        for mask in masks:
            cy, cx = rng.uniform(60, 340, 2)
            ry, rx = rng.uniform(12, 90, 2)
            ragged = 1 + 0.04 * np.sin(9 * np.arctan2(y - cy, x - cx))
            mask[:] = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < ragged
        classes = rng.integers(0, len(Artifact), n).astype(np.uint8)
        scores = rng.uniform(0.3, 1, n).astype(np.float32)
        found.append(finding_of(Instances(classes, scores, tight_boxes(masks), masks), camera))
    return found


def write_run(folder: Path, n_exposures: int, n_flagged: int) -> Run:
    """Write the run of a season."""
    camera = Camera.decam()
    rng = np.random.default_rng(3)
    flagged = np.sort(rng.choice(n_exposures, n_flagged, replace=False))
    write_previews(folder / "previews.npy", n_exposures, flagged)
    reader = open_inputs([str(folder / "previews.npy")])
    scores = rng.beta(0.3, 8, n_exposures) * 0.5
    scores[flagged] = rng.uniform(0.5, 1, n_flagged)
    sets = findings(camera)
    config = RunConfig("f00d", n_exposures, None, None, None, 256)
    listing = list_inputs(reader)
    run = Run.create_or_resume(
        folder / "RUN", config, listing=listing, details={"inputs": [str(folder / "previews.npy")]}
    )
    is_flagged = np.zeros(n_exposures, bool)
    is_flagged[flagged] = True
    for batch in run.batches():
        outcomes = []
        for k in range(batch.start, batch.stop):
            header = HeaderFields("grizY"[k % 5], 56500.2 + k // 120, exptime=90.0)
            path = f"/survey/des/y1/night{k // 120:04d}/D{FIRST_EXPNUM + k:08d}.fits.fz"
            source = Source(path, FIRST_EXPNUM + k, header)
            outcome = Outcome(k, source, score=float(scores[k]), flagged=bool(is_flagged[k]))
            if is_flagged[k]:
                outcome = Outcome(k, source, score=float(scores[k]), flagged=True, finding=sets[k % N_FINDINGS])
            outcomes.append(outcome)
        counts = batch_counts(outcomes, {"read": 1.0, "screen": 2.0, "segment": 0.5})
        run.commit(batch, BatchResult(batch_tables(outcomes), mask_planes(outcomes, camera), counts))
    run.finish()
    return run


def in_browser(index: Path) -> dict[str, Any]:
    """Load the page, scroll and filter it."""
    path = find_chromium()
    if path is None:
        return {}
    with chromium(path) as browser:
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        page.set_default_timeout(600_000)
        session = page.context.new_cdp_session(page)
        session.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
        session.send("Performance.enable")

        def metrics() -> dict[str, float]:
            return {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}

        def memory() -> dict[str, float]:
            session.send("HeapProfiler.collectGarbage")
            now = metrics()
            return {"js_heap_mb": now["JSHeapUsedSize"] / 1e6, "dom_nodes": now["Nodes"]}

        page.goto(index.as_uri())
        page.locator("#gallery img").nth(8).wait_for(state="attached")
        timing = page.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
        loaded = metrics()
        after_load = memory()
        filter_ms = page.evaluate(
            "() => { const t = performance.now(); document.getElementById('status').value = 'ghosted'; apply();"
            " const d = performance.now() - t; document.getElementById('status').value = ''; apply(); return d; }"
        )
        for k in range(SCROLLS):
            page.evaluate(
                f"for (const id of ['gallery', 'table']) {{ const e = document.getElementById(id);"
                f" e.scrollTop = e.scrollHeight * {k / SCROLLS}; }}"
            )
            page.wait_for_timeout(50)
        after_scroll = memory()
        return {
            "chromium": browser.version,
            "load_s": timing["loadEventEnd"] / 1000,
            "interactive_s": timing["domInteractive"] / 1000,
            "load_cpu_s": loaded["TaskDuration"],
            "load_script_cpu_s": loaded["ScriptDuration"],
            "filter_ms": filter_ms,
            "after_load": after_load,
            "after_scrolling": after_scroll,
        }


def timed(action: Any) -> tuple[Any, dict[str, float]]:
    """Result of an action, and its wall-clock and CPU seconds."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = action()
    return result, {"clock_s": time.perf_counter() - clock, "cpu_s": time.process_time() - cpu}


def size_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def measure(folder: Path, n_exposures: int, n_flagged: int) -> dict[str, Any]:
    """Measure everything."""
    run, made = timed(lambda: write_run(folder, n_exposures, n_flagged))
    report = folder / "report"
    n_previews, built = timed(lambda: write_report(run, report))
    n_single, built_single = timed(lambda: write_report(run, folder / "report.html", single=True))
    return {
        "n_exposures": n_exposures,
        "n_flagged": n_flagged,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[1],
        "python": platform.python_version(),
        "write_run": made,
        "folder": {
            "n_previews": n_previews,
            "build": built,
            "size_mb": size_mb(report),
            "data_js_mb": (report / "data.js").stat().st_size / 1e6,
            "index_html_mb": (report / "index.html").stat().st_size / 1e6,
            "previews_mb": size_mb(report / "previews"),
            "details_mb": size_mb(report / "details"),
            "browser": in_browser(report / "index.html"),
        },
        "single": {
            "n_previews": n_single,
            "build": built_single,
            "size_mb": (folder / "report.html").stat().st_size / 1e6,
            "browser": in_browser(folder / "report.html"),
        },
    }


def as_markdown(found: dict[str, Any]) -> str:
    """The result in Markdown."""
    lines = [
        f"Report of {found['n_exposures']:,} exposures, {found['n_flagged']:,} of them flagged; "
        f"`python benchmarks/report_speed.py --out benchmarks/results`, {found['cores']} cores with a load average of "
        f"{found['load_average']:.1f}.",
        "",
        "| | folder | `--single` |",
        "|---|---|---|",
    ]
    rows: list[tuple[str, Any]] = [
        ("previews", lambda f: f"{f['n_previews']:,}"),
        ("size, MB", lambda f: f"{f['size_mb']:.1f}"),
        ("build, CPU s (wall-clock s)", lambda f: f"{f['build']['cpu_s']:.1f} ({f['build']['clock_s']:.1f})"),
        ("load, wall-clock s", lambda f: f"{f['browser']['load_s']:.2f}"),
        ("load, CPU s of the page", lambda f: f"{f['browser']['load_cpu_s']:.2f}"),
        ("filtering all rows, wall-clock ms", lambda f: f"{f['browser']['filter_ms']:.0f}"),
        ("JS heap after loading, MB", lambda f: f"{f['browser']['after_load']['js_heap_mb']:.1f}"),
        ("JS heap after scrolling through all, MB", lambda f: f"{f['browser']['after_scrolling']['js_heap_mb']:.1f}"),
        ("DOM nodes after scrolling", lambda f: f"{f['browser']['after_scrolling']['dom_nodes']:.0f}"),
    ]
    for name, shown in rows:
        cells = []
        for kind in ("folder", "single"):
            known = found[kind]["browser"] or "browser" not in shown.__code__.co_consts
            cells.append(shown(found[kind]) if known else "no browser")
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--exposures", type=int, default=N_EXPOSURES)
    parser.add_argument("--flagged", type=int, default=N_FLAGGED)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.exposures, options.flagged)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.json").write_text(json.dumps(found, indent=2) + "\n")
    (options.out / "report.md").write_text(as_markdown(found))
    print(as_markdown(found))


if __name__ == "__main__":
    main()
