"""The page *Start*: the answer in two sentences, and the four claims with theirs."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from bump_diffusion.page.tables import Lead, Page
from bump_diffusion.papers.semantics.criteria import CURE, FROZEN
from bump_diffusion.papers.semantics.cure import COMPOSES
from bump_diffusion.papers.semantics.figures.answer import average_blocks
from bump_diffusion.papers.semantics.figures.confirmed import (
    TITLES,
    describe_interval,
    list_missing,
    name_verdict,
)
from bump_diffusion.papers.semantics.figures.learned import read_drawn
from bump_diffusion.papers.semantics.figures.sentences import count_of
from bump_diffusion.papers.semantics.figures.three_phases import count_passed
from bump_diffusion.papers.semantics.reading import count_sides
from bump_diffusion.runs.record import Record

PAGES = {1: "learned", 2: "three_phases", 3: "used", 4: "x_and_y", 5: "compose"}
"""The page behind the answer to each claim, and to the call with which the paper ends."""

TESTS = {
    1: [("order-added", "larger", "R² that training adds in layer 4", "in an untrained one")],
    2: [
        (
            *("sides-agree", "larger"),
            "agreement of layer 4’s phases with those of the drawing (κ: 0 is chance, 1 full), "
            "beyond an untrained layer’s",
            "an untrained layer’s is",
        )
    ],
    3: [
        (f"order-used-{axis}", "larger", f"share of bumps whose {axis} goes with layer 4", "")
        for axis in "xy"
    ],
    4: [
        (
            *("axes-pulled-together", "imbalanced-wide"),
            "doublings by which the learning times of x and y come closer",
            "x and y learned alone are apart by",
        )
    ],
    5: [
        (
            *("composes-more", "quadrants-lines"),
            "share right in missing quarters that two lines beside the image add",
            "without them",
        )
    ],
}
"""The frozen tests that stand with each answer: criterion, condition, effect and control."""

CALL = "The call: biases could let such models use that x and y are two factors"


def describe_whole(
    images: list[Record], controls: list[Record], judged: pd.DataFrame, call: pd.DataFrame
) -> Lead:
    """Say in a few words what the book finds of the phases, of order, and of new pairs.

    `judged` are the verdicts on the criteria of the paper's claims, `call` on the cure's.
    """
    passed, *_ = count_passed(images)
    order = read_drawn(controls).loc["direct"]
    much = order["untrained, ablated"] > order["ablated"] / 2
    inside = (
        "but much of the order inside them comes with the label and the image"
        if much
        else "and most of the order inside them is learned"
    )
    verdict = (
        f"On images of the paper's size {count_of(passed, len(images))} networks draw the three "
        f"phases that it describes, {inside}."
    )
    if blocks := average_blocks(call):
        well = "well" if blocks[0].min() > COMPOSES else "badly"
        verdict += (
            f" Pairs of x and y that were not in training are drawn {well} if they fill a whole "
            "region"
        )
        scattered = judged[
            (judged["criterion"] == "held-out-gap") & judged["condition"].str.startswith("K-")
        ]
        verdict += (
            ", and as well as others if they are scattered among enough trained ones."
            if (scattered["verdict"] == "negligible").any()
            else "."
        )
    return Lead(verdict)


def describe_standing(judged: pd.DataFrame) -> Markdown:
    """Say which numbers are exploratory, and how far the tests of the paper's claims have come."""
    return Markdown(
        "The answers to the four claims are *exploratory*: we looked at these runs before we chose "
        "what to report. What they taught became criteria, *frozen* before the *confirmatory* runs "
        f"that judge them. Of these {len(judged)} tests, so far: "
        f"{count_sides(judged.itertuples())}. [Verdicts](verdicts.ipynb) has them. The answer to "
        "the call is of confirmatory runs."
    )


def render_claims(
    answers: Mapping[int, str],
    judged: pd.DataFrame,
    call: pd.DataFrame,
    records: list[Record],
) -> Page:
    """List the paper's claims, and its call, with our answers and their frozen tests."""
    cells = {(c.criterion, c.condition): c for c in (*judged.itertuples(), *call.itertuples())}
    claims = [
        {
            "number": number,
            "title": TITLES.get(number, CALL),
            "answer": answer,
            "link": f"{PAGES[number]}.html",
            "tests": [
                _describe_test(cells[criterion, condition], effect, control)
                for criterion, condition, effect, control in TESTS[number]
            ],
        }
        for number, answer in answers.items()
    ]
    return Page("answers", records, {"missing": list_missing(FROZEN, CURE)}, claims=claims)


def _describe_test(cell, effect: str, control: str) -> dict[str, str]:
    """What the networks of a cell give so far: the effect, what stands beside it, the verdict."""
    beside = f"{control} {cell.control:.2f}" if control and cell.seeds else ""
    found = describe_interval(cell) or "unknown"
    return {
        "measured": f"{effect}: {found}; {cell.smallest:g} would matter",
        "beside": beside,
        "networks": "one network" if cell.seeds == 1 else f"{cell.seeds or 'no'} networks",
        "verdict": name_verdict(cell),
    }
