"""
Evaluation of results by the metrics of the paper and of the field.

The figures and pages are in `cascade.evaluate.write`, which loads matplotlib.
"""

from cascade.evaluate.agreement import Agreement, human_line, read_human_line, study_agreement
from cascade.evaluate.average_precision import CocoResult, average_precision, coco_result
from cascade.evaluate.bootstrap import (
    Interval,
    f1_score,
    interval,
    paired_difference,
    precision,
    recall,
    weighted_interval,
)
from cascade.evaluate.ccd import GROUPS, CcdMetrics, affected_ccds, group_masks, majority
from cascade.evaluate.counting import CcdCells
from cascade.evaluate.curves import AREA_THRESHOLDS, CcdCurves, ccd_curves, ccd_hits
from cascade.evaluate.evaluation import Evaluation, Settings, evaluate_labels, evaluate_run
from cascade.evaluate.instances import MATCHED, OVERLAPS, match_counts
from cascade.evaluate.labelling import Found, Labelling
from cascade.evaluate.paper_ap import PaperAp, mrcnn_ap, paper_ap
from cascade.evaluate.pixels import iou, overlap_px, vote_fraction
from cascade.evaluate.screening import Confusion, Curve, Reliability, curve, rates, reliability, roc_auc
from cascade.evaluate.split import split_annotations, write_split
from cascade.evaluate.truth import Matches, Truth, match_exposures, match_labels, read_stack_labels, read_truth

__all__ = [
    "AREA_THRESHOLDS",
    "GROUPS",
    "MATCHED",
    "OVERLAPS",
    "Agreement",
    "CcdCells",
    "CcdCurves",
    "CcdMetrics",
    "CocoResult",
    "Confusion",
    "Curve",
    "Evaluation",
    "Found",
    "Interval",
    "Labelling",
    "Matches",
    "PaperAp",
    "Reliability",
    "Settings",
    "Truth",
    "affected_ccds",
    "average_precision",
    "ccd_curves",
    "ccd_hits",
    "coco_result",
    "curve",
    "evaluate_labels",
    "evaluate_run",
    "f1_score",
    "group_masks",
    "human_line",
    "interval",
    "iou",
    "majority",
    "match_counts",
    "match_exposures",
    "match_labels",
    "mrcnn_ap",
    "overlap_px",
    "paired_difference",
    "paper_ap",
    "precision",
    "rates",
    "read_human_line",
    "read_stack_labels",
    "read_truth",
    "recall",
    "reliability",
    "roc_auc",
    "split_annotations",
    "study_agreement",
    "vote_fraction",
    "weighted_interval",
    "write_split",
]
