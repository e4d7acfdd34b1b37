"""What is done to the built pages: faults of the tools mended, forms and texts for search added."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path


def finish_pages(site: Path, forms: Mapping[str, str], folded: Collection[str]) -> None:
    """Mend the pages of a built site, end chapters in their forms, and let search show excerpts.

    The sections of the chapters `folded` are folded.
    """
    for path in site.glob("_static/scripts/*.js"):
        path.write_text(re.sub(LOGGED, "0", path.read_text("utf-8")), "utf-8")
    texts = {}
    for path in site.rglob("*.html"):
        page = path.read_text("utf-8")
        for pattern, mended in MENDED.items():
            page = re.sub(pattern, mended, page, flags=re.DOTALL)
        page = join_numbers(page)
        chapter = path.stem if path.parent.name == "book" else None
        if chapter in folded:
            page = fold_sections(page)
        if path.name != "search.html":
            page = re.sub(SEARCH, "", page)
        if 'class="math' not in page:
            page = re.sub(FORMULAS, "", page)
        if chapter in forms:
            page = page.replace("</article>", f"{forms[chapter]}</article>")
        name = path.relative_to(site).as_posix()
        article = re.search(r"<article.*</article>", page, re.DOTALL)
        if article and name.startswith("book/"):
            texts[name] = _extract_text(article[0])
        if name == "_modules/index.html":  # it lists modules whose code has no page too
            for line in re.findall(r'<li><a href="\w[^<]*</a></li>\n', page):
                if not (path.parent / line.split('"')[1]).exists():
                    page = page.replace(line, "")
        if path.name == "search.html":
            scripts = ("texts.js", "search.js")
            tags = (f'<script src="_static/{name}"></script>' for name in scripts)
            page = page.replace("</head>", f"{''.join(tags)}</head>")
        path.write_text(page, "utf-8")
    if texts:
        (site / "_static" / "texts.js").write_text(f"window.TEXTS = {json.dumps(texts)};", "utf-8")


def join_numbers(page: str) -> str:
    """Let no line end between a number and what it belongs to; code and formulas stay."""
    return re.sub(
        f"{KEPT}|{JOINED}",
        lambda found: found[0].replace(" ", "\u00a0") if found["joined"] else found[0],
        page,
        flags=re.DOTALL,
    )


def fold_sections(page: str) -> str:
    """Fold the sections of a page below their headings, but for `CONCLUSION`."""
    folds: list[bool] = []

    def replace(found: re.Match) -> str:
        title = found["title"]
        if not found["begin"]:
            return "</details></section>" if folds.pop() else found[0]
        folds.append(title is not None and CONCLUSION not in found["begin"])
        if not folds[-1]:
            return found[0]
        title = re.sub(r'<a class="headerlink".*?</a>', "", title)  # of no use in a button
        return f'{found["begin"]}<details class="section"><summary>{title}</summary>'

    begin = r"(?P<begin><section\b[^>]*>(?:\s*<span id=[^>]*></span>)*)"
    return re.sub(
        rf"{begin}(?:\s*(?P<title><h2>.*?</h2>))?|</section>", replace, page, flags=re.DOTALL
    )


def _extract_text(article: str) -> str:
    """An article's text in its sections, as the search expects a page."""
    text = re.sub(r"<(script|svg)\b.*?</\1>", "", article, flags=re.DOTALL)
    text = re.sub(r"<(?!/?section\b)[^>]*>", " ", text)
    return f'<div role="main">{" ".join(text.split())}</div>'


def _add_scope(scope: str) -> Callable[[re.Match], str]:
    """A replacement that gives the table headers of what was found their scope, if they lack it."""
    return lambda found: re.sub(r"<th(?=[ >])(?![^>]*scope=)", f'<th scope="{scope}"', found[0])


CONCLUSION = 'id="what-this-shows"'
"""In the tag of the section with which a chapter of the laboratory notebook ends."""

KEPT = r"<(pre|code|script|style|svg|form|title)\b.*?</\1>|<[^>]*>|\\\(.*?\\\)|\\\[.*?\\\]"
"""What numbers are not joined in: tags, code, drawings, formulas."""

JOINED = r"(?P<joined>\d+(?: × \d+)+|\d %|(?<=\w) = (?=[-\d])|\b\d+ of \d)"

FORMULAS = r"<script>window\.MathJax = .*?</script>\s*<script [^>]*mathjax/[^>]*></script>"
"""What sets formulas; the first page of a book has it without any."""

SEARCH = r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>\s*'
"""What only the page of the search runs; the field on the others leads there."""

LOGGED = r"console\.log\(([`\"])\[PST\][^`\"]*\1\)"
"""What the theme tells the console of each page."""

MENDED = {
    # Links in what notebooks compute lead to notebooks: of other links the writer makes pages.
    r'href="(\w+)\.ipynb(?=[#"])': r'href="\1.html',
    # Icons are of the theme's font, which its style sheet loads: the script would draw them again.
    r'<script defer src="[^"]*/fontawesome\.js[^"]*"></script>': "",
    # Buttons without a name, and roles that contradict each other, of the theme and its writers.
    r'<summary>(?=<span class="toctree-toggle")': '<summary aria-label="Pages of this part">',
    r'<div role="list" class="citation-list">': '<div class="citation-list">',
    r' role="doc-biblioentry"| role="doc-backlink"': "",
    # Table headers say of what; an empty cell is no header.
    r"<th(?: class=\"\w+\")?>(?:<p></p>)?</th>": "<td></td>",
    r"<thead>.*?</thead>": _add_scope("col"),
    r"<tbody>.*?</tbody>": _add_scope("row"),
}
"""Patterns of what is mended in every page, and what it becomes."""
