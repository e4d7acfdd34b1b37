"""The page *Start*: the answer in two sentences, and the four claims with theirs."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.phases import first_phases, pass_in_order
from bump_diffusion.page.tables import Page
from bump_diffusion.papers.semantics.confirmed import CURE
from bump_diffusion.papers.semantics.figures.confirmed import TITLES, list_missing, says_nothing
from bump_diffusion.papers.semantics.figures.learned import read_order
from bump_diffusion.papers.semantics.figures.sentences import count_of
from bump_diffusion.papers.semantics.figures.used import average_fates
from bump_diffusion.papers.semantics.figures.x_and_y import (
    count_together,
    find_split,
    follow_layers,
)
from bump_diffusion.runs.record import Record

PAGES = {1: "learned", 2: "three_phases", 3: "used", 4: "x_and_y", 5: "compose"}
"""The page behind the answer to each claim, and to the call with which the paper ends."""

CALL = "The call: biases could let such models use that x and y are two factors"


def describe_whole(images: list[Record], controls: list[Record], patched: list[Record]) -> Markdown:
    """Say in three sentences what the book finds of the phases, of order and of its use."""
    passed = int(pass_in_order(first_phases(frame(images), "generation")).sum())
    order = read_order(controls, ("sample",))
    clean = order[(order["layer"] == "layer4") & (order["noise"] == 0)]
    clean = clean.groupby("features")["order"].mean()
    much = clean["untrained, ablated"] > clean["ablated"] / 2
    fates = average_fates(controls)
    largest = fates.loc[max(fates.index.unique("N"))]
    needed = largest.loc["layer4", "correct"] < largest.loc["", "correct"] / 2
    shares, N = follow_layers(patched), patched[0].configuration.N
    both = count_together(shares)
    return Markdown(
        f"Networks that learn to draw a bump pass through the phases that the paper describes in "
        f"{count_of(passed, len(images))} runs. Training orders the layer that it looks at, "
        + ("though much of that order comes with the label and the image" if much else "layer 4")
        + f". Images of {N} × {N} pixels {'need' if needed else 'do not need'} that layer: "
        f"exchanged, it takes both coordinates of the bump along in {count_of(both, len(patched))} "
        f"networks, and one of them in {count_of(len(find_split(shares)), len(patched))}."
    )


def describe_standing(judged: pd.DataFrame) -> Markdown:
    """Say whether anything is confirmed yet."""
    decided = judged[judged["verdict"] != "not yet"]
    empty = sum(says_nothing(cell) for cell in decided.itertuples())
    confirmed = "Nothing is confirmed yet"
    if len(decided):
        confirmed = f"{len(decided)} of {len(judged)} confirmatory tests are decided"
    if empty:
        confirmed += f"; of these, {empty} could not have ended otherwise, whatever is true"
    return Markdown(
        f"**{confirmed}.** The four answers are *exploratory*: we looked at these runs before we "
        "chose what to report. What they taught became criteria, *frozen* before the "
        "*confirmatory* runs, which are being added; [Verdicts](verdicts.ipynb) has them."
    )


def render_claims(
    answers: Mapping[int, Markdown], judged: pd.DataFrame, records: list[Record]
) -> Page:
    """List the paper's claims, and its call, with our answers and how many criteria are decided."""
    claims = []
    for number, answer in answers.items():
        of_claim = judged.loc[judged["claim"] == number, "verdict"]
        decided = of_claim[of_claim != "not yet"].value_counts()
        tally = f"{decided.sum() or 'none'} of {len(of_claim)} decided"
        tally += "".join(f", {count} {verdict}" for verdict, count in decided.items()) or " yet"
        claims.append(
            (number, TITLES.get(number, CALL), answer.data, f"{PAGES[number]}.html", tally)
        )
    page = Page("answers", records, claims=claims)
    page.made_from["missing"] = list_missing(records, CURE)
    return page
