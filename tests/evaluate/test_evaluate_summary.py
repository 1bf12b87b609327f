from __future__ import annotations

from html.parser import HTMLParser

import pytest

from cascade.evaluate.summary import Section, markdown, page, short_names, shown, shown_difference

HOSTILE = '<script>alert("x")</script> | `a` *b* [c](http://d) \n# e'


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_html_shows_foreign_text_and_runs_none_of_it():
    section = Section(HOSTILE, HOSTILE, ("a", HOSTILE), [(HOSTILE, "1")], ["confusion"])
    parsed = Tags(page(HOSTILE, [section]))
    assert not [tag for tag, _ in parsed.tags if tag in {"script", "iframe", "link"}]
    assert parsed.text.count(HOSTILE) == 5 + 1  # and once more as the title of the window
    assert [attrs["src"] for tag, attrs in parsed.tags if tag == "img"] == ["figures/confusion.png"]


def test_markdown_keeps_tables_whole():
    text = markdown("t", [Section("s", "", ("a", "b"), [(HOSTILE, "1")], ["roc"])])
    row = next(line for line in text.splitlines() if "alert" in line)
    assert row.replace(r"\|", "").count("|") == 3
    assert "<script>" not in text.replace(r"\<", "")
    assert "![roc](figures/roc.png)" in text


def test_figures_are_shown_with_their_intervals():
    assert shown({"value": 0.5, "low": 0.25, "high": 0.75}) == "0.500 [0.250, 0.750]"
    assert shown({"value": 0.5, "low": None, "high": None}) == "0.500"
    assert shown({"value": None, "low": None, "high": None}) == shown(None) == "–"
    assert shown(0.12345) == "0.123"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((0.03, 0.01, 0.05), "better by 0.030 [0.010, 0.050]"),
        ((-0.03, -0.05, 0.01), "worse by 0.030 [-0.010, 0.050]"),
        ((None, None, None), "–"),
    ],
)
def test_differences_are_said_in_words(found, expected):
    assert shown_difference(dict(zip(("value", "low", "high"), found, strict=True))) == expected


def test_names_lose_the_words_that_all_share():
    assert short_names(["common_core_AlexC", "common_core_AlexDW"]) == ["AlexC", "AlexDW"]
    assert short_names(["one", "two"]) == ["one", "two"]
    assert short_names(["alone_here"]) == ["alone_here"]
    assert short_names(["a_", "a_b"]) == ["a_", "b"]
