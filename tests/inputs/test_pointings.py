import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from cascade.core.errors import InputError
from cascade.core.exposure import HeaderFields
from cascade.inputs.pointings import is_pointing_table, read_pointings

TEXT = "EXPNUM,RA,Dec,filter,MJD-OBS,rotation\n101,68.98,16.9,r DECam SDSS c0002,56616.2,\n102,34.0,-5.0,g,56617.2,90\n"
EXPECTED = [HeaderFields("r", 56616.2, 68.98, 16.9), HeaderFields("g", 56617.2, 34.0, -5.0)]


def written(folder, kind):
    """The same two pointings as a table of some format."""
    path = folder / f"pointings.{kind}"
    (folder / "source.csv").write_text(TEXT)
    if kind == "csv":
        path.write_text(TEXT)
        return path
    table = pa.csv.read_csv(folder / "source.csv")
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path)
        return path
    astropy_table = pytest.importorskip("astropy.table")
    masked = astropy_table.MaskedColumn([0, 90.0], mask=[True, False])
    columns = {name: masked if name == "rotation" else table[name].to_numpy() for name in table.column_names}
    columns["filter"] = np.array(table["filter"].to_pylist())
    astropy_table.Table(columns).write(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits", "ecsv"])
def test_tables_of_every_format_give_the_same_pointings(kind, tmp_path):
    path = written(tmp_path, kind)
    assert is_pointing_table(path)
    pointings = read_pointings(path)
    assert [source.expnum for source in pointings.sources] == [101, 102]
    assert [source.header for source in pointings.sources] == EXPECTED
    assert [source.path for source in pointings.sources] == [f"{path}[0]", f"{path}[1]"]
    assert pointings.rotations_deg == [0.0, 90.0]


def test_values_that_cannot_be_used_are_unknown(tmp_path, caplog):
    path = tmp_path / "odd.csv"
    path.write_text("expnum,ra,dec,band\n1,10,-95,g\n2,11,-5,g\n")
    first, second = read_pointings(path).sources
    assert (first.header.ra, first.header.dec) == (10, None)
    assert second.header.dec == -5
    assert "dec" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ra,dec\n1,2\n", "expected columns ra, dec and band, got ra, dec"),
        ("ra,dec,band\n", "rows, got 0"),
        ("", "expected a table of pointings"),
        ("ra,dec,band,rotation\n1,2,g,up\n", "rotation: expected degrees"),
        ("ra,dec,band,rotation\n1,2,g,inf\n", "rotation: expected degrees, got inf"),
    ],
)
def test_what_is_no_table_of_pointings_is_refused(text, message, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_pointings(tmp_path / "x.csv")
    with pytest.raises(InputError, match="expected a table of pointings"):
        read_pointings(tmp_path / "missing.csv")
