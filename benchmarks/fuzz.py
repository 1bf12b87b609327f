"""
Damaged and forged files of every kind: only an error of ours, or a right answer, may come of one.

    python benchmarks/fuzz.py [--out benchmarks/results] [--n 1000] [--seed 1] [--only NAME ...] [--case NAME:NUMBER]

Each case damages one file (bits, length fields, zeros, splices, cuts, words) in a copy of a good folder, and reads it
in a child process with limits of memory and time. Findings: another exception than a `CascadeError` or a message of
many lines; a crash; a hang; memory beyond the limit; where hashes or checksums tell, other rows or pixels than the good
files'. Cases are fixed by their seed, target and number; ``--case`` shows one again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import warnings

from fuzz_children import Case, in_child, tried
from fuzz_mutations import mutated
from fuzz_runs import refusal
from fuzz_targets import TARGETS, Target

from cascade.core.errors import CascadeError

EXAMPLES = 3  # of each finding that are told


@dataclass
class Tally:
    """Outcomes of the cases of a target, and examples of its findings."""

    outcomes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def findings(self) -> dict[str, int]:
        return {outcome: n for outcome, n in self.outcomes.items() if outcome not in ("right", "refused")}


def fuzz(name: str, n: int, seed: int, numbers: list[int] | None = None) -> Tally:
    """Try N cases of a target, or those of the numbers given."""
    target, tally = TARGETS[name], Tally()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        good, case = Path(temporary, "good"), Path(temporary, "case")
        case.mkdir()
        in_child(lambda: target.make(case))
        shutil.copytree(case, good)
        answer = Path(temporary, "answer.json")
        in_child(lambda: answer.write_text(json.dumps(target.answer(case))) and None)
        expected = json.loads(answer.read_text())
        numbers = list(range(n)) if numbers is None else numbers
        cases = [_case(target, f"{seed}-{name}-{k}", good, case, expected) for k in numbers]
        for k, outcome, remark in tried(cases):
            tally.outcomes[outcome] += 1
            if outcome not in ("right", "refused") or len(numbers) < 10:
                examples = tally.examples.setdefault(outcome, [])
                if len(examples) < EXAMPLES:
                    examples.append(f"{name}:{numbers[k]} {remark}")
    tally.seconds = time.monotonic() - began
    return tally


def _case(target: Target, seed: str, good: Path, folder: Path, expected: Mapping[str, str]) -> Case:
    """One case: damage a file in a copy of the good ones, where these were made, and compare what is read."""

    def run() -> tuple[str, str]:
        rng = random.Random(seed)
        shutil.rmtree(folder)
        shutil.copytree(good, folder)
        victim = rng.choice(target.files(folder))
        data = victim.read_bytes()
        how, damaged = mutated(data, rng)
        victim.write_bytes(damaged)
        where = f"{victim.relative_to(folder)} {how}"
        if damaged == data:
            return "right", where
        try:
            answer = target.answer(folder)
        except CascadeError as error:
            return "refused", f"{where}: {refusal(error)}"
        for part, value in answer.items():
            checked = any(part.startswith(beginning) for beginning in target.exact)
            if checked and not value.startswith("refused") and value != expected.get(part):
                return f"another answer: {part.rstrip(' 0123456789')}", f"{where}: {value[:300]}"
        refused = next((value for value in answer.values() if value.startswith("refused")), "")
        return ("refused" if refused else "right"), f"{where}: {refused[:300]}"

    return run


def table(tallies: Mapping[str, Tally], seed: int) -> str:
    """A table of the outcomes in Markdown."""
    lines = ["| files | cases | refused | right | findings |", "|---|---|---|---|---|"]
    for name, tally in tallies.items():
        found = ", ".join(f"{n} x {outcome}" for outcome, n in sorted(tally.findings.items())) or "none"
        outcomes = tally.outcomes
        lines.append(f"| {name} | {outcomes.total()} | {outcomes['refused']} | {outcomes['right']} | {found} |")
    total = sum(tally.outcomes.total() for tally in tallies.values())
    return "\n".join([*lines, "", f"{total} cases, `python benchmarks/fuzz.py --seed {seed}`.", ""])


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="cases of a target; some have more or fewer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(TARGETS), metavar="NAME", help=", ".join(TARGETS))
    parser.add_argument("--case", help="try one again: NAME:NUMBER")
    parser.add_argument("--out", type=Path, help="folder for fuzz.json and fuzz.md")
    options = parser.parse_args(words)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if options.case:
        name, _, number = options.case.rpartition(":")
        print(json.dumps(fuzz(name, 1, options.seed, [int(number)]).examples, indent=2))
        return 0
    tallies = {}
    for name in options.only or TARGETS:
        tally = tallies[name] = fuzz(name, max(1, round(options.n * TARGETS[name].share)), options.seed)
        print(f"{name}: {dict(tally.outcomes)} in {tally.seconds:.0f} s", flush=True)
        for outcome, examples in tally.examples.items():
            print(*(f"    {outcome}: {example}" for example in examples), sep="\n", flush=True)
    if options.out:
        content = {name: {"outcomes": tally.outcomes, "examples": tally.examples} for name, tally in tallies.items()}
        (options.out / "fuzz.json").write_text(json.dumps({"seed": options.seed, "targets": content}, indent=2) + "\n")
        (options.out / "fuzz.md").write_text(table(tallies, options.seed))
    return 1 if any(tally.findings for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
