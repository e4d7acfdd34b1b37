"""A Sphinx extension: the list of pages beside each page is made from the pages' titles alone.

For the list on one page Sphinx copies the names of all functions that the pages of code document,
and then drops them: over all pages, a third of the time that the site takes.
"""

from functools import cache
from typing import Any

from docutils import nodes
from sphinx.addnodes import toctree
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension, as Sphinx asks of each."""
    app.connect("html-page-context", _list_titles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _list_titles(app: Sphinx, page: str, template: str, context: dict[str, Any], _: Any) -> None:
    """Have templates list pages, by the function `toctree` of their context, from titles."""
    list_pages = context["toctree"]

    def list_from_titles(**options: Any) -> str:
        if not options.get("titles_only"):
            return list_pages(**options)
        contents, app.env.tocs = app.env.tocs, _titles(app.env)
        try:
            return list_pages(**options)
        finally:
            app.env.tocs = contents

    context["toctree"] = list_from_titles


@cache
def _titles(env: BuildEnvironment) -> dict[str, nodes.bullet_list]:
    """Each page's table of contents, without what is within the page."""
    titles = {page: contents.deepcopy() for page, contents in env.tocs.items()}
    for contents in titles.values():
        for entry in contents:
            subpages = list(entry.findall(toctree))
            entry[1:] = [nodes.bullet_list("", *subpages)] if subpages else []
    return titles
