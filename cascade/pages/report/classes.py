"""The classes of artifact for pages: a style sheet and a script, from the table in `cascade.core.artifact`."""

from __future__ import annotations

import json

from cascade.core.artifact import Artifact

STYLE = "classes.css"
SCRIPT = "classes.js"

DRAWN = Artifact.FAINT
"""Class that Enter gives to a polygon on the review page: the networks miss large faint rings most often."""

_DOT_PX = 3  # dashes up to this length look like dots


def classes_css() -> str:
    """CSS variables with the colour and dashes of each class, which the other style sheets use."""
    return "".join(
        f".{artifact.label} {{ --class: {artifact.colour}; --dash: {artifact.dash or 'none'}; "
        f"--border: {_border(artifact.dash)}; }}\n"
        for artifact in Artifact
    )


def classes_js() -> str:
    """Script with names, bits, keys and meanings of the classes, and the one that Enter draws."""
    classes = [
        {"name": artifact.label, "bit": artifact.bit, "key": artifact.key, "meaning": artifact.meaning}
        for artifact in Artifact
    ]
    return f"globalThis.cascadeClasses = {json.dumps(classes)};\nglobalThis.cascadeDrawn = {json.dumps(DRAWN.label)};\n"


def _border(dash: str) -> str:
    """The CSS border style closest to an outline with these dashes."""
    if not dash:
        return "solid"
    return "dotted" if int(dash.split()[0]) <= _DOT_PX else "dashed"
