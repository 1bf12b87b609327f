"""Pages from templates: every value is escaped but `Markup`, and every name must be there."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, name: str, **values: object) -> str:
    """
    Fill in a template.

    Parameters
    ----------
    package : str
        The package in whose folder ``templates`` it lies.
    name : str
        Its file.
    **values
        What it may name. Texts are escaped; only what is `markupsafe.Markup` is taken for HTML.

    Raises
    ------
    jinja2.UndefinedError
        If it names something else.
    """
    return _environment(package).get_template(name).render(values)


@cache
def _environment(package: str) -> Environment:
    """The templates of a package."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
