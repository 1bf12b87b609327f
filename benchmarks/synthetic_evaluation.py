"""
Metrics of the shipped models on held-out synthetic exposures, and outside the parameter ranges of training.

``python benchmarks/synthetic_evaluation.py --out benchmarks/results`` draws a season for each case of `CASES` (seeds
not used in training), runs both networks on every exposure, and writes `synthetic.json`, `synthetic.md`,
`synthetic.png` and `synthetic_worst.png`. It takes some 10 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score, roc_curve

from cascade.core.artifact import Artifact
from cascade.core.versions import installed_versions
from cascade.core.via import read_via
from cascade.evaluate import f1_score, interval
from cascade.networks.models import DEFAULT_MODELS, find_model
from cascade.pipeline.season import run_season
from cascade.simulate.conditions import Ranges
from cascade.simulate.dataset import write_season
from cascade.simulate.synthetic_season import Season

CASES: Mapping[str, Ranges] = {
    "as trained": Ranges(),
    "brighter sky": Ranges(sky_level=(70.0, 90.0)),
    "other filter positions": Ranges(filter_offsets_mm=(-70.0, -200.0)),
    "three times the stars": Ranges(star_density=3.0),
}
SEED = 90001
SNR_BINS = (10, 14, 20, 30, 50, 100, 1e9)
RECALLS = (0.90, 0.95, 0.99)
VISIBLE_SNR, VISIBLE_AREA = 20, 1500  # of the highest-S/N artifact; px of all, a quarter of a CCD
_N_WORST = 6
_N_CANDIDATES = 1000  # for the worst masks

Scores = npt.NDArray[np.float64]


def score_season(folder: Path, ranges: Ranges, n_exposures: int, seed: int) -> dict[str, Any]:
    """Draw a season, run both networks on all of it, and compute metrics."""
    season = Season(n_exposures, 0.5, seed, ranges=ranges)
    write_season(season, folder / "season", n_workers=os.cpu_count() or 1, fresh=True)
    run = run_season(folder / "season" / "previews.zarr", folder / "run", threshold=0.0)
    truth = pq.read_table(folder / "season" / "exposures.parquet")
    rows = run.table("exposures")
    if rows["expnum"].to_pylist() != truth["expnum"].to_pylist() or rows["screen_score"].null_count:
        msg = "expected a score for every exposure of the season, in order"
        raise RuntimeError(msg)
    ghosted = truth["ghosted"].to_numpy(zero_copy_only=False)
    scores = rows["screen_score"].to_numpy().astype(float)
    labels = pq.read_table(folder / "season" / "truth.parquet").filter(pc.field("labelled"))
    return {
        "n": n_exposures,
        "screen": screen_figures(scores, ghosted, labels, truth),
        "segment": segment_figures(run, folder / "season" / "coco.json", ghosted),
    }


def screen_figures(scores: Scores, ghosted: npt.NDArray[np.bool_], labels: Any, truth: Any) -> dict[str, Any]:
    """ROC AUC, false-alarm rate at some recalls and at the default threshold, calibration, recall by S/N and class."""
    threshold = find_model(DEFAULT_MODELS["screen"]).threshold
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(scores), size=len(scores)) for _ in range(200)]
    resampled = [roc_auc_score(ghosted[pick], scores[pick]) for pick in drawn]
    grouped = labels.group_by("expnum").aggregate([("snr", "max"), ("area_px", "sum")]).to_pylist()
    drawn_on = {row["expnum"]: (row["snr_max"], row["area_px_sum"]) for row in grouped}
    snrs, area = np.array([drawn_on.get(expnum, (np.nan, 0.0)) for expnum in truth["expnum"].to_pylist()]).T
    visible = ghosted & (snrs >= VISIBLE_SNR) & (area >= VISIBLE_AREA)
    missed = scores < threshold
    bins = [(low, high, (snrs >= low) & (snrs < high)) for low, high in pairwise(SNR_BINS)]
    holds = {a.label: truth[f"n_{a.label}"].to_numpy() > 0 for a in Artifact}
    alone = {name: mask & (sum(other.astype(int) for other in holds.values()) == 1) for name, mask in holds.items()}
    return {
        **roc_figures(scores, ghosted),
        "roc_auc_interval": [round(float(bound), 4) for bound in np.percentile(resampled, [2.5, 97.5])],
        "visible": visible_figures(scores, ghosted, visible, threshold),
        "ghost_area_missed_at_default": round(float(area[ghosted & missed].sum() / area[ghosted].sum()), 4),
        "default_threshold": threshold,
        "recall_at_default": round(float(np.mean(scores[ghosted] >= threshold)), 4),
        "false_alarm_share_at_default": round(float(np.mean(scores[~ghosted] >= threshold)), 4),
        "recall_by_highest_snr": [
            {
                "from": low,
                "to": high,
                "n": int(mask.sum()),
                "recall": round(float(np.mean(scores[mask] >= threshold)), 3),
            }
            for low, high, mask in bins
            if mask.any()
        ],
        "recall_where_only": {
            name: {"n": int(mask.sum()), "recall": round(float(np.mean(scores[mask] >= threshold)), 3)}
            for name, mask in alone.items()
        },
        "reliability": reliability(scores, ghosted),
    }


def roc_figures(scores: Scores, ghosted: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """ROC AUC, and the false-alarm rate at some recalls."""
    false_alarms, recall, _ = roc_curve(ghosted, scores)
    return {
        "roc_auc": round(float(roc_auc_score(ghosted, scores)), 4),
        "false_alarm_share_at_recall": {
            str(wanted): round(float(false_alarms[np.argmax(recall >= wanted)]), 4) for wanted in RECALLS
        },
    }


def visible_figures(
    scores: Scores, ghosted: npt.NDArray[np.bool_], visible: npt.NDArray[np.bool_], threshold: float
) -> dict[str, Any]:
    """ROC AUC and false-alarm rates of clean exposures against those with large artifacts of high S/N."""
    either = visible | ~ghosted
    return {
        "n": int(visible.sum()),
        **roc_figures(scores[either], visible[either]),
        "recall_at_default": round(float(np.mean(scores[visible] >= threshold)), 4),
    }


def reliability(scores: Scores, ghosted: npt.NDArray[np.bool_], prevalence: float = 0.04) -> list[dict[str, Any]]:
    """Reliability: fraction of ghosted exposures by score, weighted to a survey's prevalence."""
    share = ghosted.mean()
    weights = np.where(ghosted, prevalence / share, (1 - prevalence) / (1 - share))
    edges = np.array([0, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0001])
    rows = []
    for low, high in pairwise(edges):
        inside = (scores >= low) & (scores < high)
        if inside.sum() >= 10:
            rows.append({
                "from": float(low), "to": float(min(high, 1)), "n": int(inside.sum()),
                "mean_score": round(float(np.average(scores[inside], weights=weights[inside])), 4),
                "share_ghosted": round(float(np.average(ghosted[inside], weights=weights[inside])), 4),
            })  # fmt: skip
    return rows


def segment_figures(run: Any, coco: Path, ghosted: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """COCO AP of masks on ghosted exposures, CCD F1 over all, and the fraction of clean exposures with an artifact."""
    artifacts = run.table("artifacts")
    n_found = np.zeros(len(ghosted), int)
    np.add.at(n_found, artifacts["exposure"].to_numpy(), 1)
    return {
        "clean_exposures_with_artifacts": round(float(np.mean(n_found[~ghosted] > 0)), 4),
        "ghosted_exposures_without": round(float(np.mean(n_found[ghosted] == 0)), 4),
        "ap": coco_ap(artifacts, coco),
        "ccd_f1": ccd_f1(run, coco),
    }


def coco_ap(artifacts: Any, coco: Path) -> dict[str, float]:
    """COCO AP of masks: averaged over overlaps and at 0.5, pooled over classes and for each."""
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(coco))
        found = [
            {
                "image_id": row["expnum"],
                "category_id": int(Artifact.from_label(row["class"])) + 1,
                "segmentation": {"size": [400, 400], "counts": row["rle"]},
                "score": row["score"],
            }
            for row in artifacts.select(["expnum", "class", "rle", "score"]).to_pylist()
        ]
        evaluation = COCOeval(truth, truth.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # overlap, recall, class

    def mean(values: Any) -> float:
        return round(float(np.mean(values[values >= 0])), 3)

    metrics = {"ap": mean(precision), "ap50": mean(precision[0])}
    for artifact in Artifact:
        metrics |= {
            f"ap_{artifact.label}": mean(precision[..., artifact]),
            f"ap50_{artifact.label}": mean(precision[0, :, artifact]),
        }
    return metrics


def ccd_f1(run: Any, coco: Path) -> dict[str, Any]:
    """CCD F1 by group of classes, area threshold 0, with intervals."""
    from pycocotools import mask as coco_mask

    from cascade.camera import Camera
    from cascade.evaluate import GROUPS, affected_ccds, group_masks

    camera, document = Camera.decam(), json.loads(coco.read_text())
    index_of = {image["id"]: n for n, image in enumerate(document["images"])}
    drawn: list[list[tuple[int, Any]]] = [[] for _ in index_of]
    for label in document["annotations"]:
        drawn[index_of[label["image_id"]]].append((label["category_id"] - 1, label["segmentation"]))
    found: list[list[tuple[int, Any]]] = [[] for _ in index_of]
    for row in run.table("artifacts").select(["exposure", "class", "rle"]).to_pylist():
        rle = {"size": [400, 400], "counts": row["rle"].encode()}
        found[row["exposure"]].append((int(Artifact.from_label(row["class"])), rle))

    def affected(shapes: list[tuple[int, Any]]) -> dict[str, npt.NDArray[np.bool_]]:
        masks = np.zeros((len(Artifact), 400, 400), bool)
        for class_, rle in shapes:
            masks[class_] |= coco_mask.decode(rle).astype(bool)
        return {group: affected_ccds(mask, camera) for group, mask in group_masks(masks).items()}

    counts: dict[str, list[tuple[int, int, int]]] = {group: [] for group in GROUPS}
    for true, guess in zip(drawn, found, strict=True):
        truth, positive = affected(true), affected(guess)
        for group, rows in counts.items():
            rows.append(
                (int((truth[group] & positive[group]).sum()), int(truth[group].sum()), int(positive[group].sum()))
            )
    intervals = {}
    for group, rows in counts.items():
        bounds = interval(f1_score, np.array(rows, float), np.random.default_rng(0))
        intervals[group] = [round(float(v), 3) for v in (bounds.value, bounds.low, bounds.high)]
    return intervals


def gallery(folder: Path, path: Path) -> None:
    """
    Plot the worst exposures of a season: missed ones with the lowest scores, false alarms, and the worst masks.

    Outlines: the truth in white, what was found in the colours of the classes.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import zarr

    from cascade.runs.run import open_run

    run = open_run(folder / "run")
    truth = pq.read_table(folder / "season" / "exposures.parquet")
    ghosted = truth["ghosted"].to_numpy(zero_copy_only=False)
    scores = run.table("exposures")["screen_score"].to_numpy()
    via = read_via(folder / "season" / "via.json")
    files = truth["file"].to_pylist()
    previews: Any = zarr.open_array(folder / "season" / "previews.zarr" / "preview", mode="r")
    masks: Any = run.masks

    def overlap(n: int) -> float:
        true = np.any([region.mask() for region in via[files[n]]], axis=0)
        found = np.asarray(masks[n]) > 0
        return float((true & found).sum() / max(1, (true | found).sum()))

    missed = [n for n in np.argsort(scores).tolist() if ghosted[n]][:_N_WORST]
    alarms = [n for n in np.argsort(-scores).tolist() if not ghosted[n]][:_N_WORST]
    seen = [n for n in np.flatnonzero(ghosted).tolist() if n not in missed][:_N_CANDIDATES]
    worst = sorted(seen, key=overlap)[:_N_WORST]
    figure, grid = plt.subplots(3, _N_WORST, figsize=(3 * _N_WORST, 9.6), layout="constrained")
    for row, (words, chosen) in enumerate(
        (("missed by the screen", missed), ("false alarm", alarms), ("worst masks", worst))
    ):
        for axes, n in zip(grid[row], chosen, strict=False):
            axes.imshow(np.asarray(previews[n]), cmap="gray", vmin=0, vmax=140)
            for region in via[files[n]]:
                axes.contour(region.mask(), [0.5], colors="white", linewidths=0.8)
            plane = np.asarray(masks[n])
            for artifact, colour in zip(Artifact, ("#e69f00", "#56b4e9", "#cc79a7"), strict=True):
                if (plane & artifact.bit).any():
                    axes.contour((plane & artifact.bit) > 0, [0.5], colors=colour, linewidths=1.2)
            axes.set_title(f"{words}: {scores[n]:.3f}", fontsize="small")
        for axes in grid[row]:
            axes.axis("off")
    figure.savefig(path, dpi=60)
    plt.close(figure)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--exposures", type=int, default=10_000, help="of the first case; a fifth of it for the others")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    cases = {}
    for number, (name, ranges) in enumerate(CASES.items()):
        n_exposures = args.exposures if number == 0 else args.exposures // 5
        with tempfile.TemporaryDirectory() as folder:
            cases[name] = score_season(Path(folder), ranges, n_exposures, SEED + number)
            if number == 0:
                gallery(Path(folder), args.out / "synthetic_worst.png")
        sys.stderr.write(f"{name}: {json.dumps(cases[name])}\n")
    result = {
        "command": "python benchmarks/synthetic_evaluation.py",
        "date": datetime.now(UTC).date().isoformat(),
        "models": {task: {"name": name, "sha256": find_model(name).sha256} for task, name in DEFAULT_MODELS.items()},
        "versions": installed_versions(),
        "cases": cases,
    }
    args.out.joinpath("synthetic.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    args.out.joinpath("synthetic.md").write_text(table(result), encoding="utf-8")
    draw(result, args.out / "synthetic.png")


def table(result: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    models = ", ".join(model["name"] for model in result["models"].values())
    lines = [
        f"`{result['command']}`, {result['date']}, {models}; half of the exposures are ghosted.",
        "",
        "| exposures | n | screen ROC AUC | false alarms at recall .90 / .95 / .99 | at the default threshold: "
        "recall / false alarms | clean exposures with a detection of the segmenter | AP / AP@.5 | CCD F1 All |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, case in result["cases"].items():
        screen, segment = case["screen"], case["segment"]
        alarms = " / ".join(f"{share:.2%}" for share in screen["false_alarm_share_at_recall"].values())
        low, high = screen["roc_auc_interval"]
        f1, f1_low, f1_high = segment["ccd_f1"]["All"]
        lines.append(
            f"| {name} | {case['n']} | {screen['roc_auc']:.4f} [{low:.4f}, {high:.4f}] | {alarms} | "
            f"{screen['recall_at_default']:.3f} / {screen['false_alarm_share_at_default']:.2%} | "
            f"{segment['clean_exposures_with_artifacts']:.1%} | "
            f"{segment['ap']['ap']:.3f} / {segment['ap']['ap50']:.3f} | {f1:.3f} [{f1_low:.3f}, {f1_high:.3f}] |"
        )
    trained = result["cases"]["as trained"]
    lines += [
        "",
        f"Visible ghosts only: one artifact with an S/N of {VISIBLE_SNR} or more, {VISIBLE_AREA} px or more in total.",
        "",
        "| exposures | visible | screen ROC AUC | false alarms at recall .90 / .95 / .99 of these | recall at the "
        "default threshold | missed fraction of the ghost area |",
        "|---|---|---|---|---|---|",
    ]
    for name, case in result["cases"].items():
        visible = case["screen"]["visible"]
        alarms = " / ".join(f"{share:.2%}" for share in visible["false_alarm_share_at_recall"].values())
        lines.append(
            f"| {name} | {visible['n']} | {visible['roc_auc']:.4f} | {alarms} | {visible['recall_at_default']:.3f} | "
            f"{case['screen']['ghost_area_missed_at_default']:.2%} |"
        )
    lines += ["", "As trained, by highest S/N of the artifacts (labels start at 10):", ""]
    lines += ["| S/N | exposures | recall at the default threshold |", "|---|---|---|"]
    lines += [
        f"| {row['from']:g} to {row['to']:g} | {row['n']} | {row['recall']:.3f} |"
        for row in trained["screen"]["recall_by_highest_snr"]
    ]
    lines += ["", "| only | exposures | screen recall | AP / AP@.5 | CCD F1 |", "|---|---|---|---|---|"]
    for artifact in Artifact:
        only, ap = trained["screen"]["recall_where_only"][artifact.label], trained["segment"]["ap"]
        f1, low, high = trained["segment"]["ccd_f1"][artifact.label.capitalize()]
        lines.append(
            f"| {artifact.label} | {only['n']} | {only['recall']:.3f} | {ap[f'ap_{artifact.label}']:.3f} / "
            f"{ap[f'ap50_{artifact.label}']:.3f} | {f1:.3f} [{low:.3f}, {high:.3f}] |"
        )
    return "\n".join(lines) + "\n"


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Reliability and recall against S/N."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for name, case in result["cases"].items():
        rows = case["screen"]["reliability"]
        left.plot([row["mean_score"] for row in rows], [row["share_ghosted"] for row in rows], "o-", ms=4, label=name)
        rows = case["screen"]["recall_by_highest_snr"]
        right.plot([row["from"] for row in rows], [row["recall"] for row in rows], "o-", ms=4, label=name)
    left.plot([1e-3, 1], [1e-3, 1], "k--", lw=0.8)
    left.set(xlabel="score", ylabel="fraction ghosted, 4 % prevalence", xscale="log", yscale="log", title="Reliability")
    right.set(
        xlabel="highest S/N of its artifacts, from",
        ylabel="recall",
        xscale="log",
        title="Recall at the default threshold",
    )
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
