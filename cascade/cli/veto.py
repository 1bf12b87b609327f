"""`cascade veto`: a run directory in, a list of CCDs out."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.core.artifact import Artifact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cascade.veto import Kept, Provenance, ReadList, VetoList

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
    out: Annotated[Path, typer.Option(help="File to write; - for standard output.")],
    format: Annotated[
        Format | None,
        typer.Option(
            help="des: exclude list; fits: DES's compiled table; legacy: bad exposures with reasons. If not given: as "
            "the file ends (.csv, .parquet, .fits), or as the list that is there, or csv."
        ),
    ] = None,
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
        list[Path] | None,
        typer.Option(
            metavar="LIST",
            help="List whose entries are added; any form, many times. Where the form is not clear: pairs:LIST for "
            "'expnum ccdnum', legacy:LIST for 'expnum reason', des:LIST, nights:LIST for 'nite exposure problem'.",
        ),
    ] = None,
    compare: Annotated[Path | None, typer.Option(metavar="LIST", help="List to compare with, as for --merge.")] = None,
) -> None:
    """
    Write the list of CCDs that a survey should not use.

    What others wrote into an older list in --out stays as it stands.

    Example: cascade veto RUN --min-area 0.05 --classes bright,rays --format des --out ghost-scatter.txt
    """
    from cascade.camera import Camera
    from cascade.core.errors import InputError, StoreError
    from cascade.runs.files import read_run_json
    from cascade.runs.run import open_run
    from cascade.runs.stars import with_stars
    from cascade.runs.verdicts import reviewed_run
    from cascade.veto import Provenance, VetoRule, compare_lists, earlier_list, merge_lists, open_list, veto_rows

    try:
        chosen = tuple(Artifact.from_label(label) for label in classes.split(","))
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint="--classes") from error
    rule = VetoRule(min_area, chosen, min_score, min_ccds, keep_dead, reviewed)
    form = _format_of(out, format)
    opened = open_run(run)
    camera = Camera.load(opened.config.camera)
    summary = opened.summary()
    if summary.n_done < summary.n_batches:
        msg = f"{run}: expected a complete run, got {summary.n_done} of {summary.n_batches} batches; run it to the end"
        raise StoreError(msg)
    corrected = reviewed_run(opened) if reviewed else None
    ccds, exposures = (corrected.tables[name] if corrected else opened.table(name) for name in ("ccds", "exposures"))
    artifacts = [corrected.tables["artifacts"]] if corrected else opened.parts("artifacts")
    found = with_stars(veto_rows(ccds, exposures, rule, camera), artifacts)
    earlier = None if _is_stdout(out) else earlier_list(out, camera, form)
    form = form or (earlier.form if earlier else Format.CSV.value)
    others = [open_list(path, camera) for path in merge or ()]
    compared = None if compare is None else open_list(compare, camera)
    vetoes, kept = merge_lists(found, earlier, others, camera, form)
    merged = (*(earlier.merged if earlier else ()), *(str(listed.path) for listed in others))
    provenance = Provenance.of_run(read_run_json(opened.storage), str(run)).merging(merged)
    _write(vetoes, out, form, provenance, kept)
    say = partial(typer.echo, err=_is_stdout(out))
    for listed in (earlier, *others, compared):
        if listed is not None:
            say(str(listed))
    if compared is not None:
        say(f"{compare}: {compare_lists(found.table, compared.table)}")
    remarks = (
        (len(corrected.judged) if corrected else 0, "exposures as people judged them"),
        (corrected.n_disputed if corrected else 0, "of these are disputed: artifacts in doubt count"),
        (corrected.n_stale if corrected else 0, "have verdicts from before the run was made anew, which do not count"),
        (summary.counts.n_failed, "exposures failed and are not in it"),
        (vetoes.n_unnamed, "CCDs have no expnum and are not in it"),
        *_list_remarks(vetoes, kept, others, form),
    )
    n_ccds = len(set(zip(*(vetoes.table[name].to_pylist() for name in ("expnum", "ccdnum")), strict=True)))
    say(
        f"{out}: {n_ccds} CCDs of {len(vetoes.table['expnum'].unique())} exposures vetoed ({rule})"
        + "".join(f"; {number} {remark}" for number, remark in remarks if number)
    )


def _list_remarks(vetoes: VetoList, kept: Kept, others: Sequence[ReadList], form: str) -> tuple[tuple[int, str], ...]:
    """What is to be said of the entries of others, and of what the format does not hold."""
    text = form in (Format.DES.value, Format.LEGACY.value)
    lost = dict.fromkeys(name for listed in others for name in listed.columns) if text else {}
    n_undated = vetoes.table["mjd_obs"].null_count if form == Format.DES.value else 0
    return (
        (len(kept.entries), "entries of others were kept"),
        (kept.n_doubtful, "of their lines may be ours, as an older version or another hand left them: delete what is"),
        (sum(listed.table.num_rows for listed in others), "entries were merged"),
        (len(lost), f"columns have no place in this format: {', '.join(lost)}"),
        (n_undated, "lines have no date: the inputs give none, a manifest with mjd_obs does"),
    )


def _is_stdout(out: Path) -> bool:
    """Whether a list goes to standard output."""
    return str(out) == "-"


def _format_of(out: Path, format: Format | None) -> str | None:
    """The format that was asked for, or that the name of the file says; None if the list that is there decides."""
    from cascade.core.errors import ConfigError
    from cascade.veto import SUFFIXES, check_format

    form = SUFFIXES.get(out.suffix.lower()) if format is None else format.value
    check_format(out, form or Format.CSV.value)
    if not _is_stdout(out):
        return form
    if form in (Format.PARQUET.value, Format.FITS.value):
        msg = f"--out -: expected csv, des or legacy, which are text, got {form}"
        raise ConfigError(msg)
    return form or Format.CSV.value


def _write(vetoes: VetoList, out: Path, form: str, provenance: Provenance, kept: Kept) -> None:
    """Write the list to its place."""
    from cascade.veto import veto_bytes, write_veto

    if _is_stdout(out):
        typer.echo(veto_bytes(vetoes, form, provenance=provenance, kept=kept), nl=False)
    else:
        write_veto(vetoes, out, form, provenance=provenance, kept=kept)
