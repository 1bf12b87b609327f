"""The table of artifact classes, which every mask, table, page, export and figure uses."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Self

from cascade.core.errors import CascadeError, InputError
from cascade.core.records import shown

MAX_CLASSES = 8
"""Bits of a uint8 mask plane, one per class."""


class Artifact(IntEnum):
    """
    Classes of artifact; to add one, add a line at the end.

    The value is the class index in every array, counted from 0 in the order of the lines; runs and models name classes
    by label. So lines are never reordered or removed: bits of stored masks would change their meaning.

    Attributes
    ----------
    colour
        As ``#RRGGBB``; from the colour-blind safe palette of Okabe and Ito.
    dash
        Lengths of dashes and gaps of an outline, in pixels, which also distinguish the classes; empty for a solid line.
    key
        Keyboard shortcut of this class on the review page.
    meaning
        One-line description.
    ds9
        Colour of DS9 regions.
    """

    colour: str
    dash: str
    key: str
    meaning: str
    ds9: str

    # Colour, dash, key, meaning, and a DS9 colour if it is not the same.
    BRIGHT = "#E69F00", "", "1", "a compact ghost of high surface brightness", "red"
    FAINT = "#56B4E9", "7 4", "2", "a large ring of low surface brightness, up to half the focal plane", "cyan"
    RAYS = "#CC79A7", "2 3", "3", "light scattered in past the baffles: striated beams from the field edge", "yellow"

    # Defaults only let type checkers accept `Artifact(index)`, which looks a class up.
    def __new__(cls, colour: str, dash: str = "", key: str = "", meaning: str = "", ds9: str = "") -> Self:
        """Number the classes in the order of their lines."""
        value = len(cls.__members__)
        if value >= MAX_CLASSES:
            msg = f"artifact classes: expected at most {MAX_CLASSES}, one per bit of a uint8 mask, got {value + 1}"
            raise ValueError(msg)
        member = int.__new__(cls, value)
        member._value_ = value
        member.colour, member.dash, member.key = colour, dash, key
        member.meaning, member.ds9 = meaning, ds9 or colour
        return member

    @property
    def bit(self) -> int:
        """The flag of this class in a mask plane: 1 for the first, then 2, 4 and so on."""
        return 1 << self.value

    @property
    def label(self) -> str:
        """The name in tables and options, in lower case."""
        return self.name.lower()

    @property
    def title(self) -> str:
        """The name in figures and metrics, capitalised."""
        return self.name.title()

    @property
    def category_id(self) -> int:
        """The number of the class in COCO's files, which count from 1."""
        return self.value + 1

    @classmethod
    def from_label(cls, label: str) -> Artifact:
        """
        Look up a class by its name, in any case.

        Raises
        ------
        InputError
            If no class has that name.
        """
        try:
            return cls[label.strip().upper()]
        except KeyError:
            msg = f"artifact class: expected one of {', '.join(a.label for a in cls)}, got {shown(label)}"
            raise InputError(msg) from None


PAPER_CLASSES = (Artifact.BRIGHT, Artifact.FAINT, Artifact.RAYS)
"""The classes of Tanoglidis et al. 2021 (arXiv:2109.08246); the default of runs and screens that name none."""


def read_classes(labels: Sequence[str], where: str, error: type[CascadeError]) -> tuple[Artifact, ...]:
    """
    Look up the classes that a file names.

    Parameters
    ----------
    labels : sequence of str
    where : str
        File and key, for messages.
    error : type
        What to raise if there is no class, an unknown one, or one twice.
    """
    try:
        classes = tuple(map(Artifact.from_label, labels))
    except InputError as problem:
        msg = f"{where}: {problem}"
        raise error(msg) from problem
    if not classes or len(set(classes)) < len(classes):
        msg = f"{where}: expected artifact classes, each once, got {shown(', '.join(labels))}"
        raise error(msg)
    return classes


def coco_info(description: str) -> dict[str, str]:
    """The entry ``info`` of COCO's files, which some versions of pycocotools demand."""
    return {"description": description, "contributor": "ghost-cascade"}


def coco_categories() -> list[dict[str, int | str]]:
    """The classes as COCO's files list them."""
    return [{"id": artifact.category_id, "name": artifact.label} for artifact in Artifact]
