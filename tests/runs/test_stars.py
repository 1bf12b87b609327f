"""Stars behind the CCDs of a veto list."""

from dataclasses import replace

import pyarrow as pa
import pytest
from looked_at import DECAM, looked_at, predicted
from pyarrow import csv, parquet
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.core.artifact import Artifact
from cascade.runs.stars import with_stars
from cascade.runs.verdicts import NewVerdict, VerdictLog, reviewed_run, subject
from cascade.veto import VetoRule, open_list, read_des, veto_bytes, veto_rows

ALDEBARAN = "Aldebaran (HIP 21421)"
NAMELESS = "HIP 20885"


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return looked_at(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def run(networks, tmp_path):
    return predicted(tmp_path / "PREDICTED", networks)


def vetoes_of(run, rule=None):
    return veto_rows(run.table("ccds"), run.table("exposures"), rule or VetoRule(), DECAM)


def veto(run, out, *words):
    result = CliRunner().invoke(app, ["veto", str(run.path), "--out", str(out), *words])
    assert result.exit_code == 0, result.output
    return out


def test_a_ccd_has_the_star_that_covers_most_of_it(run):
    named = with_stars(vetoes_of(run), run.parts("artifacts")).stars
    assert {
        expnum: {star for (of, _), star in named.items() if of == expnum} for expnum in (700001, 700002, 700003)
    } == {
        700001: {ALDEBARAN},
        700002: {ALDEBARAN, NAMELESS},
        700003: {NAMELESS},
    }
    rays = {ccdnum for (expnum, ccdnum), star in named.items() if (expnum, star) == (700002, NAMELESS)}
    assert rays < set(DECAM.labels[0:90, 150:250].ravel().tolist())
    assert all((DECAM.labels[0:90, 150:250] == n).sum() > (DECAM.labels[90:200, 90:300] == n).sum() for n in rays)


def test_only_classes_of_the_rule_name_a_star(run):
    named = with_stars(vetoes_of(run, VetoRule(classes=(Artifact.RAYS,))), run.parts("artifacts")).stars
    assert set(named.values()) == {NAMELESS}


def test_csv_and_parquet_name_the_star_in_a_column(run, tmp_path):
    rows = csv.read_csv(veto(run, tmp_path / "veto.csv"), csv.ReadOptions(skip_rows=1)).to_pylist()
    table = parquet.read_table(veto(run, tmp_path / "veto.parquet"))
    expected = with_stars(vetoes_of(run), run.parts("artifacts")).stars
    assert {(row["expnum"], row["ccdnum"]): row["star"] for row in rows} == expected
    assert {(row["expnum"], row["ccdnum"]): row["star"] for row in table.to_pylist()} == expected


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_without_stars_that_is_rewritten_gains_them_and_keeps_what_others_wrote(run, tmp_path, suffix):
    out = tmp_path / f"veto{suffix}"
    vetoes = vetoes_of(run)
    hand = vetoes.table.slice(0, 1).to_pylist()[0] | {"reason": "Airplane", "analyst": "Ada"}
    both = pa.concat_tables([vetoes.table, pa.Table.from_pylist([hand], vetoes.table.schema)])
    out.write_bytes(veto_bytes(replace(vetoes, table=both), suffix[1:]))
    for _ in range(2):
        entries = open_list(veto(run, out), DECAM).entries
        assert len(entries) == len(both)
        assert [entry.analyst for entry in entries].count("Ada") == 1
        stars = [dict(entry.extras).get("star") for entry in entries if entry.analyst == "cascade"]
        assert set(stars) == {ALDEBARAN, NAMELESS}


def test_lists_of_surveys_keep_their_columns(run, tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    for form in ("des", "legacy"):
        text = veto(run, tmp_path / form, "--format", form).read_text()
        assert "HIP" not in text
    assert read_des(tmp_path / "des").num_rows == len(vetoes_of(run).table)
    assert fits.getdata(veto(run, tmp_path / "veto.fits")).names == ["EXPNUM", "CCDNUM", "REASON", "ANALYST"]


def test_what_networks_found_has_no_star(networks, tmp_path):
    assert "star" not in veto(networks, tmp_path / "veto.csv").read_text()
    assert parquet.read_table(veto(networks, tmp_path / "veto.parquet")).column_names[-1] == "analyst"


def test_an_artifact_that_people_confirmed_keeps_its_star(run):
    rows, artifacts = run.table("exposures").to_pylist(), run.table("artifacts").to_pylist()
    exposure = next(row["exposure"] for row in rows if row["expnum"] == 700002)
    known = subject(rows[exposure], [a for a in artifacts if a["exposure"] == exposure])
    VerdictLog(run.storage.folder).append(NewVerdict("k", "Ada", exposure, known, "delete", artifact="m0"))
    (left,) = (a for a in reviewed_run(run).tables["artifacts"].to_pylist() if a["exposure"] == exposure)
    assert (left["class"], left["hip"], left["pair"]) == ("rays", 20885, None)
    assert left["star_mag"] == pytest.approx(3.84)
