"""Templates: escaped, strict, and part of the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import TemplateNotFound, UndefinedError
from markupsafe import Markup

from cascade.core.templates import render

PACKAGE = Path(__file__).parents[2] / "cascade"
TEMPLATES = sorted(PACKAGE.rglob("*.jinja"))
SUMMARY = ("cascade.evaluate", "summary.html.jinja")


def test_texts_are_escaped_and_markup_is_not():
    assert "<h1>&lt;b&gt;</h1>" in render(*SUMMARY, title="<b>", sections=[])
    assert "<h1><b></h1>" in render(*SUMMARY, title=Markup("<b>"), sections=[])


def test_what_a_template_does_not_find_is_an_error():
    with pytest.raises(UndefinedError, match="'sections' is undefined"):
        render(*SUMMARY, title="x")
    with pytest.raises(TemplateNotFound, match=r"nothing\.jinja"):
        render("cascade.evaluate", "nothing.jinja")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_switches_escaping_off(path):
    assert not re.findall(r"\bsafe\b|autoescape|Markup", path.read_text())


def test_only_scripts_and_styles_of_the_report_are_taken_for_html():
    users = {path.name for path in PACKAGE.rglob("*.py") if "Markup(" in path.read_text()}
    assert users == {"write.py"}


def test_no_module_writes_html_by_hand_but_for_notebooks():
    tags = re.compile(r"</(a|b|dd|div|dl|dt|g|h1|h2|html|li|p|script|section|style|svg|table|td|text|th|tr|ul)>")
    writers = [text for path in PACKAGE.rglob("*.py") if tags.search(text := path.read_text())]
    assert all("_repr_html_" in text for text in writers)


def test_starting_up_loads_no_templates():
    code = "import sys, cascade, cascade.cli.app; print('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
