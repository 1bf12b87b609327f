"""HTML from templates: every value except `Markup` is escaped, and undefined names are errors."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, name: str, **values: object) -> str:
    """
    Render a template.

    Parameters
    ----------
    package : str
        Package whose folder ``templates`` holds it.
    name : str
        Its file.
    **values
        Variables of the template. Strings are escaped; only `markupsafe.Markup` is inserted as HTML.

    Raises
    ------
    jinja2.UndefinedError
        If it uses any other name.
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
