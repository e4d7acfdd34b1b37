"""The book as one PDF: its pages in one document, printed by a browser without a window."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from bump_diffusion.book.finish import FORMULAS
from bump_diffusion.errors import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def print_pages(pages: Sequence[Path]) -> bytes:
    """Print built pages, all of one folder, one after the other; links between them stay in it.

    Raises UserError without a browser; ClickException if it fails.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError(f"A PDF is printed by a browser; install one of {', '.join(BROWSERS)}.")
    with tempfile.TemporaryDirectory(dir=pages[0].parent) as beside:
        folder = Path(beside)
        # The pages' links to files are relative to the folder above.
        joined = _join(pages).replace("<head>", '<head><base href="../">', 1)
        (folder / "book.html").write_text(joined, "utf-8")
        command = [browser, "--headless", "--no-sandbox", f"--user-data-dir={folder / 'profile'}"]
        command += ["--no-pdf-header-footer", "--generate-pdf-document-outline"]
        command += ["--virtual-time-budget=120000"]  # until formulas are set
        command += [f"--print-to-pdf={folder / 'book.pdf'}", (folder / "book.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True)
        if not (folder / "book.pdf").exists():
            raise click.ClickException(f"{browser} printed no PDF.\n{done.stderr}")
        return (folder / "book.pdf").read_bytes()


def _join(pages: Sequence[Path]) -> str:
    """The first page with the articles of all, whose anchors begin with their page's name."""
    articles = []
    formulas = ""
    for path in pages:
        page = path.read_text("utf-8")
        if scripts := re.search(FORMULAS, page):
            formulas = scripts[0]
        found = re.search(r"<article.*</article>", page, re.DOTALL)
        article = re.sub(r"<script.*?</script>", "", found[0], flags=re.DOTALL)
        article = article.replace('<details class="section"', '<details class="section" open')
        article = re.sub(r' id="', f' id="{path.stem}-', article)
        article = re.sub(r'(href="|url\()#', rf"\1#{path.stem}-", article)
        article = re.sub(r'href="(\w+)\.html#', r'href="#\1-', article)
        article = re.sub(r'href="(\w+)\.html"', r'href="#\1"', article)
        articles.append(f'<section class="page" id="{path.stem}">{article}</section>')
    first = pages[0].read_text("utf-8")
    before, after = first.split("<article", 1)[0], first.split("</article>", 1)[1]
    before = re.sub(FORMULAS, "", before).replace("</head>", f"{formulas}</head>")
    return before + "".join(articles) + after
