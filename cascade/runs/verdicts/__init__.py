"""Reviewers' verdicts on the exposures of a run, and the tables corrected by them."""

from cascade.runs.verdicts.doubt import doubts
from cascade.runs.verdicts.opinions import Drawn, Opinion, model_name, opinions, subject
from cascade.runs.verdicts.reviewed import Judged, Reviewed, judged_exposures, reviewed_run, reviewed_tables, standing
from cascade.runs.verdicts.verdict_log import NewVerdict, Verdict, VerdictLog, log_folder, read_verdicts

__all__ = [
    "Drawn",
    "Judged",
    "NewVerdict",
    "Opinion",
    "Reviewed",
    "Verdict",
    "VerdictLog",
    "doubts",
    "judged_exposures",
    "log_folder",
    "model_name",
    "opinions",
    "read_verdicts",
    "reviewed_run",
    "reviewed_tables",
    "standing",
    "subject",
]
