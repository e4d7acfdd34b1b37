"""The page *Start*: the answer in two sentences, and the four claims with theirs."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.phases import first_phases, pass_in_order
from bump_diffusion.page.tables import Lead, Page
from bump_diffusion.page.words import percent_range
from bump_diffusion.papers.semantics.confirmed import CURE, FROZEN
from bump_diffusion.papers.semantics.cure import COMPOSES
from bump_diffusion.papers.semantics.figures.compose import average_blocks
from bump_diffusion.papers.semantics.figures.confirmed import TITLES, list_missing
from bump_diffusion.papers.semantics.figures.learned import read_drawn
from bump_diffusion.papers.semantics.figures.sentences import choose_quantity, count_of
from bump_diffusion.papers.semantics.reading import AGAINST, FOR, OPEN, read_side
from bump_diffusion.runs.record import Record

PAGES = {1: "learned", 2: "three_phases", 3: "used", 4: "x_and_y", 5: "compose"}
"""The page behind the answer to each claim, and to the call with which the paper ends."""

CALL = "The call: biases could let such models use that x and y are two factors"


def describe_whole(images: list[Record], controls: list[Record], call: pd.DataFrame) -> Lead:
    """Say in a few sentences what the book finds of the phases, of order, and of new pairs.

    `call` are the verdicts on the cure's criteria.
    """
    passed = int(pass_in_order(first_phases(frame(images), "generation")).sum())
    order = read_drawn(controls).loc["direct"]
    much = order["untrained, ablated"] > order["ablated"] / 2
    verdict = (
        f"{choose_quantity(passed, len(images)).capitalize()} networks draw the three phases that "
        "the paper describes, "
        + (
            "but much of the order inside them comes with the label and the image."
            if much
            else "and most of the order inside them is learned."
        )
    )
    new = ""
    if blocks := average_blocks(call):
        without, lines = map(percent_range, blocks)
        well = "well" if blocks[0].min() > COMPOSES else "badly"
        verdict += f" An x and a y that they never saw together they combine {well}."
        new = (
            " Does it learn x and y as two things? Well inside a block "
            f"of pairs that was left out of training, {without} of its images are right, depending "
            "on the block. If it gets the label as two extra input images, a line at x and a line "
            f"at y, {lines} are, but these show it the place."
        )
    return Lead(
        verdict,
        "A network learns to draw one bump at a requested (x, y). Does it build a map of the plane "
        f"inside, and use it? In {count_of(passed, len(images))} runs what it draws passes through "
        f"several bumps or none, single bumps at wrong places, and bumps at the right places.{new}",
    )


def describe_standing(judged: pd.DataFrame) -> Markdown:
    """Say which numbers are exploratory, and how far the confirmatory tests have come."""
    sides = [read_side(cell) for cell in judged.itertuples()]
    return Markdown(
        "The answers below are *exploratory*: we looked at these runs before we chose what to "
        "report. What they taught became criteria, *frozen* before the *confirmatory* runs that "
        f"judge them. Of these {len(sides)} tests {sides.count(OPEN)} are still open: they have "
        f"too few runs so far, or none. Of the others {sides.count(FOR)} speak for the paper and "
        f"{sides.count(AGAINST)} against it, and the rest cannot tell or are about something else. "
        "[Verdicts](verdicts.ipynb) has them."
    )


def render_claims(answers: Mapping[int, str], records: list[Record]) -> Page:
    """List the paper's claims, and its call, with our answers."""
    claims = [
        (number, TITLES.get(number, CALL), answer, f"{PAGES[number]}.html")
        for number, answer in answers.items()
    ]
    return Page("answers", records, {"missing": list_missing(FROZEN, CURE)}, claims=claims)
