"""The page *Start*: the answer in two sentences, and the four claims with theirs."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.phases import first_phases, pass_in_order
from bump_diffusion.page.tables import Page
from bump_diffusion.papers.semantics.confirmed import CURE, FROZEN
from bump_diffusion.papers.semantics.figures.compose import describe_gaps
from bump_diffusion.papers.semantics.figures.confirmed import TITLES, list_missing
from bump_diffusion.papers.semantics.figures.learned import average_order, read_order
from bump_diffusion.papers.semantics.figures.sentences import count_of
from bump_diffusion.papers.semantics.reading import count_sides
from bump_diffusion.runs.record import Record

PAGES = {1: "learned", 2: "three_phases", 3: "used", 4: "x_and_y", 5: "compose"}
"""The page behind the answer to each claim, and to the call with which the paper ends."""

CALL = "The call: biases could let such models use that x and y are two factors"


def describe_whole(images: list[Record], controls: list[Record], call: pd.DataFrame) -> Markdown:
    """Say in a few sentences what the book finds of the phases, of order, and of new pairs.

    `call` are the verdicts on the cure's criteria.
    """
    passed = int(pass_in_order(first_phases(frame(images), "generation")).sum())
    order = read_order(controls, ("sample",))
    clean = average_order(order, order["conditioning"].iloc[0], "layer4", 0)
    much = clean["untrained, ablated"] > clean["ablated"] / 2
    new = ""
    if gaps := describe_gaps(call):
        new = f" Pairs of x and y that were never trained are drawn {gaps}."
    return Markdown(
        "A network learns to draw one bump at a requested (x, y). Does it build a map of the plane "
        f"inside, and use it? In {count_of(passed, len(images))} runs what it draws passes through "
        "the three phases that the paper describes, "
        + (
            "but much of the order inside comes with the label and the image."
            if much
            else "and most of the order inside is learned."
        )
        + new
    )


def describe_standing(judged: pd.DataFrame) -> Markdown:
    """Say what the confirmatory tests say of the paper, and which numbers are exploratory."""
    return Markdown(
        f"**Of {len(judged)} confirmatory tests: {count_sides(judged.itertuples())}.** The answers "
        "below are *exploratory*: we looked at these runs before we chose what to report. What "
        "they taught became criteria, *frozen* before the *confirmatory* runs, which are being "
        "added; [Verdicts](verdicts.ipynb) has them."
    )


def render_claims(
    answers: Mapping[int, Markdown], judged: pd.DataFrame, records: list[Record]
) -> Page:
    """List the paper's claims, and its call, with our answers and what the tests say."""
    claims = []
    for number, answer in answers.items():
        of_claim = judged[judged["claim"] == number]
        tally = f"of {len(of_claim)}, {count_sides(of_claim.itertuples())}"
        if number not in TITLES:
            decided = (of_claim["verdict"] != "not yet").sum()
            tally = f"{decided} of {len(of_claim)} decided"
        claims.append(
            (number, TITLES.get(number, CALL), answer.data, f"{PAGES[number]}.html", tally)
        )
    page = Page("answers", records, claims=claims)
    page.made_from["missing"] = list_missing(FROZEN, CURE)
    return page
