"""`cascade veto`: a run directory in, a list of CCDs out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cascade.core.artifact import Artifact

_ALL_CLASSES = ",".join(artifact.label for artifact in Artifact)


class Format(StrEnum):
    """Formats of a veto list."""

    CSV = "csv"
    PARQUET = "parquet"
    DES = "des"
    FITS = "fits"
    LEGACY = "legacy"


def veto(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    format: Annotated[
        Format, typer.Option(help="des: exclude list; fits: DES's compiled table; legacy: bad exposures with reasons.")
    ] = Format.CSV,
    min_area: Annotated[float, typer.Option(min=0, max=1, help="Smallest covered share of a CCD.")] = 0.05,
    classes: Annotated[
        str, typer.Option(help="Classes that count; where two of them overlap, their shares add up.")
    ] = _ALL_CLASSES,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Smallest confidence.")] = 0.0,
    min_ccds: Annotated[
        int, typer.Option("--min-ccds", min=1, help="Smallest number of such CCDs for an exposure to be listed.")
    ] = 1,
    keep_dead: Annotated[bool, typer.Option("--keep-dead", help="List CCDs that were dead, too.")] = False,
    reviewed: Annotated[bool, typer.Option("--reviewed", help="As people corrected it with cascade review.")] = False,
    merge: Annotated[
        list[Path] | None, typer.Option(metavar="LIST", help="List whose entries are added; any format, many times.")
    ] = None,
    compare: Annotated[Path | None, typer.Option(metavar="LIST", help="List to compare with.")] = None,
) -> None:
    """
    Write the list of CCDs that a survey should not use.

    Entries that people added to an older list in --out are kept.

    Example: cascade veto RUN --min-area 0.05 --classes bright,rays --format des --out ghost-scatter.txt
    """
    from cascade.camera import Camera
    from cascade.core.errors import InputError, StoreError
    from cascade.runs.run import open_run
    from cascade.runs.verdicts import reviewed_run
    from cascade.veto import VetoRule, compare_lists, kept_entries, merged_list, read_list, veto_rows, write_veto

    try:
        chosen = tuple(Artifact.from_label(label) for label in classes.split(","))
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint="--classes") from error
    rule = VetoRule(min_area, chosen, min_score, min_ccds, keep_dead, reviewed)
    opened = open_run(run)
    camera = Camera.load(opened.config.camera)
    summary = opened.summary()
    if summary.n_done < summary.n_batches:
        msg = f"{run}: expected a complete run, got {summary.n_done} of {summary.n_batches} batches; run it to the end"
        raise StoreError(msg)
    corrected = reviewed_run(opened) if reviewed else None
    ccds, exposures = (corrected.tables[name] if corrected else opened.table(name) for name in ("ccds", "exposures"))
    found = veto_rows(ccds, exposures, rule, camera)
    by_hand = kept_entries(out, camera, format.value)
    others = [read_list(path, camera) for path in merge or ()]
    comparison = None if compare is None else compare_lists(found.table, read_list(compare, camera))
    vetoes = merged_list(found, [by_hand, *others])
    write_veto(vetoes, out, format.value)
    if comparison is not None:
        typer.echo(f"{compare}: {comparison}")
    n_exposures = len(vetoes.table["expnum"].unique())
    n_undated = vetoes.table["mjd_obs"].null_count if format is Format.DES else 0
    remarks = (
        (len(corrected.judged) if corrected else 0, "exposures as people judged them"),
        (corrected.n_disputed if corrected else 0, "of these are disputed: artifacts in doubt count"),
        (corrected.n_stale if corrected else 0, "have verdicts from before the run was made anew, which do not count"),
        (summary.counts.n_failed, "exposures failed and are not in it"),
        (vetoes.n_unnamed, "CCDs have no expnum and are not in it"),
        (by_hand.num_rows, "entries that were made by hand were kept"),
        (sum(table.num_rows for table in others), "entries were merged"),
        (n_undated, "lines have no date: the inputs give none, a manifest with mjd_obs does"),
    )
    typer.echo(
        f"{out}: {vetoes.table.num_rows} CCDs of {n_exposures} exposures vetoed ({rule})"
        + "".join(f"; {number} {remark}" for number, remark in remarks if number)
    )
