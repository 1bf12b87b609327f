"""
A satellite trail on its way from a synthetic preview to veto lists, exports, metrics and pages, with four classes.

``python tests/trail_pipe.py OUT`` writes all that comes of it below OUT, where `tests/pipeline/test_fourth_class.py`
reads it without knowing the class.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from class_table import add_trail
from PIL import Image
from scipy import ndimage

TRAIL_LEVEL = 250
NAMES = {"clean": "D00700000.png", "trail": "D00700001.png", "both": "D00700002.png"}


def trail_mask() -> np.ndarray:
    """A streak of a few pixels across the field, (400, 400) bool."""
    y, x = np.mgrid[:400, :400]
    return np.abs(y - 60 - 0.7 * x) < 3


class TrailSegmenter:
    """Finds what is as bright as a trail, and calls what else it is told to faint."""

    def segment(self, images):
        from cascade.core.artifact import Artifact
        from cascade.core.exposure import Instances, tight_boxes

        found = []
        for image in images:
            masks = [image == TRAIL_LEVEL]
            classes = [Artifact.TRAIL]
            if image[0, 0] == 1:
                disc = np.hypot(*(np.indices(image.shape) - np.array(200)[None, None])) < 30
                masks.append(disc)
                classes.append(Artifact.FAINT)
            stacked = np.stack(masks)
            all_of_it = Instances(
                np.array(classes, np.uint8), np.full(len(classes), 0.9, np.float32), tight_boxes(stacked), stacked
            )
            found.append(all_of_it.select(stacked.any(axis=(1, 2))))
        return found


def draw_previews(folder: Path) -> None:
    """A clean synthetic exposure, the same with a trail over it, and with a faint ghost besides."""
    from cascade.camera import Camera
    from cascade.simulate.synthetic_season import simulate_exposure

    folder.mkdir()
    sky = simulate_exposure((), Camera.decam(), np.random.default_rng(5))
    sky = np.minimum(sky, TRAIL_LEVEL - 1)
    sky[0, 0] = 0
    with_trail = np.where(trail_mask(), TRAIL_LEVEL, sky).astype(np.uint8)
    with_both = with_trail.copy()
    with_both[0, 0] = 1
    for name, image in zip(NAMES.values(), (sky, with_trail, with_both), strict=True):
        Image.fromarray(image).save(folder / name)


def run_of(previews: Path, out: Path):
    """The run directory of the previews."""
    from cascade.camera import Camera
    from cascade.inputs import open_inputs
    from cascade.inputs.listing import fingerprint, list_inputs
    from cascade.networks.model_id import ModelId
    from cascade.pipeline.batch import run_serial
    from cascade.runs.config import RunConfig
    from cascade.runs.run import Run, open_run

    reader = open_inputs([str(previews)])
    listing = list_inputs(reader)
    model = ModelId("trail-finder", "aa", "bb")
    run = Run.create_or_resume(
        out, RunConfig(fingerprint(listing), len(reader), None, model, None, 2), listing=listing,
        details={"inputs": [str(previews)]},
    )  # fmt: skip
    run_serial(reader, run, None, TrailSegmenter(), Camera.decam())
    return open_run(out)


def export(run, out: Path) -> None:
    """DS9 regions, COCO, VIA, the names of FITS planes and overview pictures."""
    from cascade.camera import Camera
    from cascade.export.annotations import write_coco, write_via
    from cascade.export.ds9 import write_regions
    from cascade.export.fits_masks import LSST_PLANES
    from cascade.export.ghosted import SkyHeaders
    from cascade.pages.report.overview import Panel, draw_overview

    out.mkdir()
    write_regions(run, out, SkyHeaders(Camera.decam()))
    write_coco(run, out)
    write_via(run, out)
    (out / "planes.json").write_text(json.dumps(dict(LSST_PLANES)))
    black = np.zeros((400, 400), np.uint8)
    draw_overview([Panel("trail", black, run.masks[1], ())], Camera.decam(), out / "overview.png", title="trail")


def evaluate(run, truth: Path, out: Path) -> None:
    """Everything that `cascade evaluate` writes, and the pixels that it counted, by group of classes."""
    from cascade.camera import Camera
    from cascade.evaluate.ccd import GROUPS
    from cascade.evaluate.evaluation import Settings, evaluate_run
    from cascade.evaluate.truth import read_truth
    from cascade.evaluate.write import write_evaluation

    drawn = read_truth([truth])
    evaluation = evaluate_run(run, drawn, Camera.decam(), Settings(n_resamples=20))
    write_evaluation(evaluation, drawn, run, Camera.decam(), out)
    counted = np.sum(evaluation.overlap_px, axis=0)
    (out / "pixels.json").write_text(json.dumps(dict(zip(GROUPS, counted.tolist(), strict=True))))


def pages(run, out: Path) -> None:
    """The report in both forms, and the files of the review page."""
    from asgi_client import Client
    from browser import chromium, find_chromium

    from cascade.pages.report import write_report
    from cascade.pages.review import ReviewSession
    from cascade.pages.review.app import review_app

    out.mkdir()
    write_report(run, out / "report")
    write_report(run, out / "report.html", single=True)
    client = Client(review_app(ReviewSession(run), hosts=frozenset({"localhost"}), token="secret"))
    client.get("/?token=secret")
    for name in ("classes.js", "classes.css", "theme.css", "focal.js"):
        (out / name).write_text(client.get(f"/static/{name}").text)
    (out / "review.html").write_text(client.get("/").text)
    subject = client.get("/api/exposures/0", params={"reviewer": "Ada"}).json()["subject"]
    verdict = {"key": "k", "reviewer": "Ada", "exposure": 0, "subject": subject, "action": "draw", "class": "trail"}
    answer = client.post("/api/verdicts", json={**verdict, "polygon": [[20, 180], [60, 180], [60, 220]]})
    (out / "drawn.json").write_text(json.dumps(answer.json()))
    if path := find_chromium():
        with chromium(path) as browser:
            page = browser.new_page()
            page.goto((out / "report/index.html").as_uri())
            look = """() => {
              const swatch = document.querySelector("#legend .trail");
              const {borderTopColor, borderTopStyle} = getComputedStyle(swatch);
              return [swatch.parentElement.textContent, borderTopColor, borderTopStyle];
            }"""
            (out / "seen.json").write_text(json.dumps(page.evaluate(look)))


def vetoes(run, out: Path) -> None:
    """Veto lists of one class each and of all, by the command."""
    from typer.testing import CliRunner

    from cascade.cli.app import app

    out.mkdir()
    for classes in ("trail", "faint", "bright", "trail,faint", None):
        chosen = [] if classes is None else ["--classes", classes]
        name = (classes or "all").replace(",", "-")
        command = ["veto", str(run.path), "--min-area", "0.01", *chosen, "--out", str(out / f"{name}.csv")]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output


def shipped(previews: Path, out: Path) -> None:
    """The zoo's three-class models at work, golden outputs checked."""
    from cascade.pipeline.season import run_season

    run_season(previews, out, engine="keras", recall=0.9)


def own_model(out: Path, architecture: dict) -> None:
    """A tiny network of all four classes, written and loaded again."""
    from cascade.core.artifact import Artifact
    from cascade.networks.models import build_network, load_network, write_model

    network = build_network(architecture)
    info = write_model(out, network, task="segment", architecture=architecture, threshold=0.5, training={})
    assert info.classes == tuple(Artifact)
    assert load_network(info).n_classes == 4


def main(out: Path, architecture: dict) -> None:
    """Do all of it."""
    add_trail()
    assert ndimage.label(trail_mask())[1] == 1
    draw_previews(out / "previews")
    run = run_of(out / "previews", out / "run")
    vetoes(run, out / "vetoes")
    export(run, out / "exports")
    evaluate(run, out / "exports/via.json", out / "evaluation")
    pages(run, out / "pages")
    own_model(out / "own", architecture)
    shipped(out / "previews", out / "shipped")


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
