from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import config
from looked_at import DECAM, FAILED, FOUND, N, looked_at
from pyarrow import parquet
from typer.testing import CliRunner

import cascade.camera
from cascade.cli.app import app
from cascade.core.errors import ConfigError, InputError
from cascade.core.exposure import HeaderFields, Source
from cascade.inputs import open_inputs
from cascade.networks.model_id import ModelId
from cascade.pages.report import page as page_module
from cascade.pages.report import write_report
from cascade.pages.report.charts import Bar, ccd_boxes, histogram_chart
from cascade.pages.report.columns import script_json
from cascade.pages.report.page import Assets, Download, Reviews, Table, report_page
from cascade.pages.report.reviewers import cohens_kappa
from cascade.pages.report.snapshot import take_snapshot
from cascade.runs.config import Batch
from cascade.runs.rows import Outcome, batch_counts, batch_tables
from cascade.runs.run import Run
from cascade.runs.tables import BatchResult
from cascade.runs.verdicts import NewVerdict, VerdictLog, subject

HOSTILE = (
    "<script>alert(1)</script>.png",
    "</script><img src=x onerror=alert(1)>.png",
    "../../../etc/passwd",
    "a\u2028b'\"&amp;<!--.jpg",
    "x" * 3000,
    "$title ${cards} {0}",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return looked_at(tmp_path_factory.mktemp("looked-at"))


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report"
    assert write_report(run, out) == len(FOUND)
    return out


class Page(HTMLParser):
    """Tags, attributes and scripts of a page, and its texts outside them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.ids, self.scripts, self.texts = [], [], [], [], []
        self.feed(text)

    @property
    def policy(self):
        (policy,) = (
            value for tag, name, value in self.attributes if (tag, name) == ("meta", "content") and "'none'" in value
        )
        return policy

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_data(self, data):
        (self.scripts if self.cdata_elem == "script" else self.texts).append(data)


def season(folder):
    text = (folder / "data.js").read_text().splitlines()[-1]
    return json.loads(text.removeprefix("globalThis.cascadeSeason = ").removesuffix(";"))


def hostile_run(path):
    """A run all of whose inputs failed, with names and reasons that mean harm."""
    settings = config(n_exposures=len(HOSTILE), batch_size=len(HOSTILE))
    run = Run.create_or_resume(path, settings)
    outcomes = [Outcome(k, Source(name, 10**17 + k)).failed("read", ValueError(name)) for k, name in enumerate(HOSTILE)]
    run.commit(Batch(0, 0, len(HOSTILE)), BatchResult(batch_tables(outcomes), None, batch_counts(outcomes, {})))
    run.finish()
    return run


def test_the_columns_tell_what_the_tables_do(run, folder):
    data, rows = season(folder), run.table("exposures").to_pylist()
    assert data["expnum"] == [row["expnum"] for row in rows]
    assert [data["bands"][k] for k in data["band"]] == [row["band"] for row in rows]
    assert [data["folders"][f] + name for f, name in zip(data["folder"], data["name"], strict=True)] == [
        row["path"] for row in rows
    ]
    assert [data["statuses"][k] for k in data["status"]] == [row["status"] for row in rows]
    assert data["flagged"] == sorted(FOUND)
    assert data["previews"] == sorted(FOUND)
    assert data["classes"][:3] == [1, 6, 0]
    assert data["score"][FAILED] is None
    assert data["nights"] == ["2013-11-03", "2013-11-04", "2013-11-05", "2013-11-06"]


def test_nights_change_when_the_observatory_of_the_run_says(run, tmp_path):
    layout = (Path(cascade.camera.__file__).parent / "decam.toml").read_text(encoding="utf-8")
    (tmp_path / "east.toml").write_text(layout.replace("rollover_utc_h = 12.0", "rollover_utc_h = 2.5"))
    moved = Run(run.storage, replace(run.config, camera=str(tmp_path / "east.toml")))
    assert sorted(set(take_snapshot(moved).nights)) == ["2013-11-04", "2013-11-05", "2013-11-06", "2013-11-07"]


def test_time_that_is_no_mjd_is_an_unknown_night(tmp_path):
    times = (57828.26, 20170316.0, 1.49e9, -1.0)
    run = Run.create_or_resume(tmp_path / "RUN", config(n_exposures=len(times), batch_size=len(times)))
    outcomes = [
        Outcome(k, Source(f"{k}.png", k, HeaderFields(mjd_obs=time))).failed("read", ValueError("away"))
        for k, time in enumerate(times)
    ]
    run.commit(Batch(0, 0, len(times)), BatchResult(batch_tables(outcomes), None, batch_counts(outcomes, {})))
    run.finish()
    assert take_snapshot(run).nights.tolist() == ["2017-03-15", "unknown", "unknown", "unknown"]


def test_details_hold_outlines_in_half_pixels_and_the_vetoed_ccds(run, folder):
    text = (folder / "details" / "0.js").read_text()
    part, exposures = json.loads(f"[{text.removeprefix('cascadeDetail(').removesuffix(');' + chr(10))}]")
    assert (part, len(exposures)) == (0, len(FOUND))
    ((name, score, (outline,), star),) = exposures[0][0]
    assert (name, score, star) == ("bright", 0.95, "")
    x, y = outline[::2], outline[1::2]
    assert (min(x), max(x), min(y), max(y)) == pytest.approx((240, 360, 200, 300), abs=1)
    ccds = {row["ccdnum"]: row["area_fraction"] for row in run.table("ccds").to_pylist() if row["exposure"] == 1}
    assert [ccdnum for ccdnum, *_ in exposures[0][1]] == sorted(ccds)
    assert all(bool(vetoed) == (ccds[ccdnum] >= 0.05) for ccdnum, _, vetoed in exposures[0][1])


def test_a_folder_loads_nothing_from_elsewhere(folder):
    page = Page((folder / "index.html").read_text())
    addresses = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert len(addresses) > 8
    inside = [address for address in addresses if not address.startswith("#") and address != "data:,"]
    assert all((folder / address).is_file() for address in inside)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert len(page.ids) == len(set(page.ids))
    assert "script-src 'self' file:;" in page.policy
    for file in folder.rglob("*"):
        if file.suffix in (".js", ".css", ".html"):
            assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", file.read_text())


def test_the_page_tells_of_failures_and_scores(folder):
    text = (folder / "index.html").read_text()
    assert "&lt;b&gt;no&lt;/b&gt; image" in text
    assert "<b>no" not in text
    assert "threshold 0.5" in text
    assert "complete, finished" in text
    assert 'aria-label="Flagged fraction of 4 nights' in text
    assert "No exposure was reviewed yet" in text


def test_downloads_are_the_tables(run, folder):
    for name in ("exposures", "artifacts", "ccds", "failures"):
        assert parquet.read_table(folder / "tables" / f"{name}.parquet").to_pylist() == run.table(name).to_pylist()
    assert (folder / "tables" / "veto.csv").read_text().startswith("# cascade veto min_area=0.05")
    assert (folder / "tables" / "nights.csv").read_text().splitlines()[1] == "2013-11-03,g,2,0,0"


def test_a_single_file_names_its_scripts_by_their_hashes(run, tmp_path):
    out = tmp_path / "report.html"
    assert write_report(run, out, single=True, n_previews=4) == 4
    text = out.read_text()
    assert text.count("data:image/jpeg;base64,") == 4
    page = Page(text)
    assert not [value for tag, name, value in page.attributes if tag in ("script", "img") and name == "src"]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts]
    assert page.tags.count("script") == len(hashes) == 6
    assert "script-src " + " ".join(f"'sha256-{one}'" for one in hashes) + ";" in page.policy
    assert list(tmp_path.iterdir()) == [out]


def test_previews_go_to_the_largest_and_the_most_doubtful(run, tmp_path):
    write_report(run, tmp_path / "report", n_previews=2)
    # The largest artifact is that of 2; most in doubt is 3, in which nothing was found.
    assert sorted(path.stem for path in (tmp_path / "report" / "previews").glob("*.jpg")) == ["2", "3"]
    for folder in (tmp_path / "report", tmp_path / "report" / "previews"):
        with pytest.raises(InputError, match="found none"):
            open_inputs(folder)


def test_hostile_names_stay_text(tmp_path):
    run = hostile_run(tmp_path / "RUN")
    write_report(run, tmp_path / "report")
    write_report(run, tmp_path / "report.html", single=True)
    data = season(tmp_path / "report")
    assert [data["folders"][f] + n for f, n in zip(data["folder"], data["name"], strict=True)] == list(HOSTILE)
    for file in (tmp_path / "report" / "index.html", tmp_path / "report.html"):
        page = Page(file.read_text())
        assert "img" not in page.tags
        assert not [name for _, name, _ in page.attributes if name.startswith("on")]
        assert page.tags.count("script") in (4, 6)
        assert {"<script>alert(1)</script>.png", "$title ${cards} {0}"} <= set(page.texts)
    assert "<" not in (tmp_path / "report" / "data.js").read_text()


HOSTILE_NAME = """</script></style></title><img src=x onerror='alert(1)'>"<b>&amp;{{ 7 * 7 }}{% raw %}"""


def test_every_text_of_the_page_is_escaped(tmp_path, monkeypatch):
    run = looked_at(tmp_path)
    snapshot = take_snapshot(run)
    header = {**snapshot.header, "versions": {"ghost-cascade": HOSTILE_NAME}, "finished": HOSTILE_NAME}
    model = ModelId(HOSTILE_NAME, HOSTILE_NAME, "00")
    hostile = replace(
        snapshot,
        run=Run(SimpleNamespace(path=HOSTILE_NAME, url=HOSTILE_NAME), replace(run.config, screen=model, segment=model)),
        header=header,
        summary=replace(snapshot.summary, counts=replace(snapshot.summary.counts, seconds={HOSTILE_NAME: 1.0})),
        bands=np.full(N, HOSTILE_NAME),
        nights=np.full(N, HOSTILE_NAME),
    )
    monkeypatch.setattr(page_module, "_model_card", lambda _model: HOSTILE_NAME)
    table = Table((HOSTILE_NAME,), [(HOSTILE_NAME,)])
    assets = Assets([HOSTILE_NAME], [HOSTILE_NAME], HOSTILE_NAME, inline=False)
    written = report_page(hostile, assets, Reviews(HOSTILE_NAME, [table]), [Download(HOSTILE_NAME, HOSTILE_NAME, 1)])
    page = Page(written)
    assert not {"img", "b"} & set(page.tags)
    assert (page.tags.count("script"), page.tags.count("style")) == (1, 0)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "<b>" not in written
    # In elements: title twice, finished and version, stage, band, night, models, cards, download, and those given.
    assert sum(HOSTILE_NAME in text for text in page.texts) >= 12
    assert sum(HOSTILE_NAME in (value or "") for _, _, value in page.attributes) >= 6


def test_nothing_in_json_can_end_a_script():
    assert script_json("</script><!--&\u2028") == '"\\u003c/script\\u003e\\u003c!--\\u0026\\u2028"'
    with pytest.raises(ValueError, match="Out of range"):
        script_json(float("nan"))


def test_a_folder_of_something_else_is_left_alone(run, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="expected a new folder or that of an earlier report"):
        write_report(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_verdicts_are_shown_and_counted(tmp_path):
    run = looked_at(tmp_path)
    log = VerdictLog(run.storage.folder)
    rows, artifacts = run.table("exposures").to_pylist(), run.table("artifacts").to_pylist()
    for n, (reviewer, exposure, action) in enumerate(
        [
            ("Ada", 1, "accept"),
            ("Ada", 2, "reject"),
            ("<Bob>", 1, "accept"),
            ("<Bob>", 2, "accept"),
            ("Ada", 8, "accept"),
        ]
    ):
        known = subject(rows[exposure], [a for a in artifacts if a["exposure"] == exposure])
        log.append(NewVerdict(str(n), reviewer, exposure, known, action))
    write_report(run, tmp_path / "report")
    data = season(tmp_path / "report")
    assert dict(zip(data["flagged"], data["verdict"], strict=True))[2] == "disputed"
    text = (tmp_path / "report" / "index.html").read_text()
    assert "<td>&lt;Bob&gt;</td><td>2</td><td>2</td><td>0</td><td>0</td><td>3 of 3</td><td>0</td>" in text
    assert "<td>&lt;Bob&gt;</td><td>Ada</td><td>2</td><td>50%</td><td>0.00</td>" in text
    assert "reviewed=yes" not in (tmp_path / "report" / "tables" / "veto.csv").read_text()
    assert (tmp_path / "report" / "tables" / "veto-reviewed.csv").is_file()


def test_cohens_kappa_by_hand():
    answers = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert cohens_kappa(answers) == pytest.approx(0.4)  # the example of many textbooks
    assert cohens_kappa([(True, True)]) is None


def test_ccds_stand_where_the_camera_has_them():
    boxes = {ccdnum: box for ccdnum, *box in ccd_boxes(DECAM)}
    assert len(boxes) == 62
    x, y, width, height = boxes[28]
    rows, columns = np.nonzero(DECAM.labels == 28)
    assert (x, y, x + width, y + height) == tuple(
        2 * v for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    )


def test_an_empty_histogram_has_no_bars():
    assert not [part for part in histogram_chart(np.zeros(50, np.int64), None).parts if isinstance(part, Bar)]


def test_the_command_says_where_the_page_is(run, tmp_path):
    out = tmp_path / "here"
    result = CliRunner().invoke(app, ["report", str(run.path), "--out", str(out), "--quiet"])
    assert result.exit_code == 0, result.output
    assert f"{out}/index.html: {N} exposures, {len(FOUND)} previews," in result.output
    picture = (out / "previews" / "1.jpg").read_bytes()
    assert picture[:3] == b"\xff\xd8\xff"
    assert base64.b64encode(picture)


def test_a_report_of_a_run_whose_inputs_are_gone_has_no_previews(tmp_path):
    run = looked_at(tmp_path)
    (tmp_path / "previews").rename(tmp_path / "elsewhere")
    assert write_report(run, tmp_path / "report") == 0
    assert season(tmp_path / "report")["previews"] == []
