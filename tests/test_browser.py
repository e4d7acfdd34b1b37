"""The book, built from notebooks run with the smoke profile, in a browser."""

import gzip
import io
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import matplotlib.pyplot as plt
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import sync_playwright

from bump_diffusion.book import build

from .test_live import CHROMIUM, needs_chromium

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

SETTLED = """async () => {
    const article = document.querySelector(".bd-article, body");
    let [before, alike] = ["", 0];
    for (let frame = 0; frame < 300 && alike < 3; frame += 1) {
        await new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn)));
        const {width, height} = article.getBoundingClientRect();
        const parts = [...document.querySelectorAll("div.wide, .scrolls")];
        const missed = parts.some(e => e.scrollWidth > e.clientWidth !== (e.tabIndex === 0));
        const now = [innerWidth, width, height, missed].join();
        alike = now === before && !missed ? alike + 1 : 0;
        before = now;
    }
}"""
"""Wait until a page of another size is laid out and its script has seen what scrolls there."""

SHORTEN = """
for (const part of document.querySelectorAll("tbody, ul, ol, .highlight pre")) {
    [...part.children].slice(20).forEach(child => child.remove());
}"""
"""Rows of a table, items of a list and words of a program are alike: axe-core sees the first."""


def views(page):
    """Show a page in each size and theme."""
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        page.evaluate(SETTLED)
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            page.locator(f"html[data-theme={scheme}]").wait_for()
            yield size, scheme


def find_barriers(page, size, scheme):
    """What axe-core calls serious or critical; the contrast, which takes longest, is that of a
    theme whatever the width, and all else that of a width whatever the theme.
    """
    contrast = size is DESK
    if scheme == "light":
        rules = {"rules": {"color-contrast": {"enabled": contrast}}}
    elif contrast:
        rules = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
    else:
        return []
    options = {"resultTypes": ["violations"], "preload": False, **rules}  # files are not fetched
    return [
        (one["id"], node["html"][:200])
        for one in page.evaluate("options => axe.run(options)", options)["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def look_at(paths):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        # What folds out is measured at once.
        page = browser.new_context(offline=True, reduced_motion="reduce").new_page()
        complaints = []
        page.on("console", lambda m: complaints.append(m.text))
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("requestfailed", lambda r: complaints.append(r.url))
        for path in paths:
            page.set_viewport_size(PHONE)
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            formulas = page.locator("span.math, div.math").count()
            if formulas:
                page.evaluate("MathJax.startup.promise.then(() => null)")
                assert page.locator("mjx-container:has(svg, mjx-math)").count() == formulas, path
            assert page.locator("h1").count() >= 1
            is_alike = path.parent.name == "code" and path.stem != "book"  # one is looked at
            assert page.evaluate(FIND_CUT) == [], path
            for _, scheme in views(page):
                check_appearance(page, path, scheme)
            if is_alike:
                continue
            page.evaluate(AXE_SCRIPT)
            page.evaluate(SHORTEN)
            for size, scheme in views(page):
                assert find_barriers(page, size, scheme) == [], path
        browser.close()
        assert complaints == []


@needs_chromium
class Pages:
    """A part of the pages: test processes look at them beside each other, a class for each."""

    part: int

    def test_every_page_in_a_browser_without_a_network(self, site):
        look_at(site.pages()[self.part :: 3])


class TestPages1(Pages):
    part = 0


class TestPages2(Pages):
    part = 1


class TestPages3(Pages):
    part = 2


FIND_CUT = """() => [...document.querySelectorAll("figure.drawing img.still")].flatMap(image => {
    const frame = document.createElement("div");
    frame.innerHTML = atob(image.src.split(",")[1]).replace(/^[^]*?(?=<svg)/, "");
    const svg = document.body.appendChild(frame).firstElementChild;
    const whole = svg.getBoundingClientRect();
    const cut = [...svg.querySelectorAll("g[id^=text_], g[id^=legend_]")].filter(part => {
        const box = part.getBoundingClientRect();
        return box.width && (box.left < whole.left - 1 || box.right > whole.right + 1 ||
            box.top < whole.top - 1 || box.bottom > whole.bottom + 1);
    }).map(part => image.alt + ": " + part.innerHTML.slice(0, 80));
    frame.remove();
    return cut;
})"""
"""The texts and legends that leave their figure."""


def check_appearance(page, path, scheme):
    widths = page.evaluate(
        """[...document.querySelectorAll("img")]
            .filter(i => i.checkVisibility({visibilityProperty: true}))
            .map(i => i.complete && i.naturalWidth > 0 && i.getBoundingClientRect().width)"""
    )
    assert all(width > 250 for width in widths), (path, widths)
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, (path, overflow)
    check_tables(page, path)
    heights = page.evaluate(
        """[...document.querySelectorAll(".bd-article summary")].filter(s => s.checkVisibility())
            .map(s => s.getBoundingClientRect().height)"""
    )
    assert min(heights, default=44) >= 44, path  # a finger meets them
    # The theme puts outputs on a light ground, in the dark too.
    grounds = page.evaluate(
        """[...document.querySelectorAll(".text_html")].map(
            e => getComputedStyle(e).backgroundColor)"""
    )
    assert set(grounds) <= {"rgba(0, 0, 0, 0)"}, (path, grounds)
    # The still of a live element goes when its network has drawn.
    figures = page.locator("figure.drawing:not(.live-still *) .scrolls:visible")
    for figure in figures.all()[:1]:
        corner = plt.imread(io.BytesIO(figure.screenshot(animations="disabled")))[-3, -3, :3]
        assert corner.max() < 0.1 if scheme == "dark" else corner.min() == 1, path


def check_tables(page, path):
    """What scrolls says so, and of a table what its rows are about stays in sight; cards do not."""
    hidden = page.evaluate(
        """[...document.querySelectorAll("div.wide, .output, .scrolls, div:has(> table)")]
            .filter(e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX === "auto")
            .map(e => {
                e.scrollLeft = e.scrollWidth;
                const left = e.getBoundingClientRect().left;
                const cell = e.querySelector("tbody tr :is(td, th)")?.getBoundingClientRect();
                e.scrollLeft = 0;
                return {sign: getComputedStyle(e, "::before").content, width: e.clientWidth,
                    left: cell ? cell.left - left : 0, right: cell ? cell.right - left : 0,
                    isCards: e.querySelector("table.verdicts") !== null};
            })"""
    )
    for one in hidden:
        assert "scroll" in one["sign"] and abs(one["left"]) < 1, (path, one)
        if page.viewport_size["width"] < 600:
            assert not one["isCards"] and one["right"] < 0.75 * one["width"], (path, one)
    beside = page.evaluate(
        """[...document.querySelectorAll("table.verdicts td:not(:empty)")].filter(
            cell => !cell.dataset.column).length"""
    )
    assert beside == 0, path  # every value has its name


@needs_chromium
def test_the_first_page_loads_less_than_400_kB_before_a_network_s_weights(site):
    """All that a browser asks for, as compressed by gzip; icons are shown, from the font."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        asked = set()
        page.on("request", lambda r: r.url.startswith("file:") and asked.add(urlsplit(r.url).path))
        page.goto((site.html / "book" / f"{build.chapters()[0]}.html").as_uri())
        page.wait_for_load_state("networkidle")
        icon = page.locator("button i.fa-solid:visible").first
        font = icon.evaluate("i => getComputedStyle(i, '::before').fontFamily")
        assert "Font Awesome" in font and icon.bounding_box()["width"] > 8
        browser.close()
    paths = (Path(unquote(path)) for path in asked)
    files = [path for path in paths if not re.fullmatch(r"[0-9a-f]+-\d+\.js", path.name)]
    loaded = {f.name: len(gzip.compress(f.read_bytes())) for f in files}
    assert len(loaded) > 10 and sum(loaded.values()) < 400_000, loaded


@needs_chromium
def test_search_finds_prose_first_with_excerpts_from_a_folder(site):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        complaints = []
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.goto(f"{(site.html / 'search.html').as_uri()}?q=noise")
        page.get_by_text("Search finished").wait_for()
        found = [item.get_attribute("href") for item in page.locator("ul.search li > a").all()]
        code = ["book/code" in link for link in found]
        assert not code[0] and code[-1] and code == sorted(code), found
        assert "noise" in page.locator("ul.search li p.context").first.inner_text().lower()
        browser.close()
        assert complaints == []


@needs_chromium
def test_a_link_unfolds_the_section_that_it_leads_to(site):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{(site.html / 'book' / 'phases.html').as_uri()}#naming-the-phases")
        folds = page.locator("section > details.section")
        opened = folds.evaluate_all("folds => folds.map(f => [f.parentElement.id, f.open])")
        assert dict(opened)["naming-the-phases"] and sum(is_open for _, is_open in opened) == 1
        page.evaluate("location.hash = 'what-is-represented'")
        page.locator("#what-is-represented > details[open]").wait_for()
        assert len(opened) > 3 and page.locator("#what-this-shows > p").first.is_visible()
        browser.close()
