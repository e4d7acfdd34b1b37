"""The page *Start*: the answer in two sentences, and the four claims with theirs."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.phases import first_phases, pass_in_order
from bump_diffusion.page.tables import Page
from bump_diffusion.papers.semantics.figures.confirmed import TITLES
from bump_diffusion.papers.semantics.figures.learned import read_order
from bump_diffusion.papers.semantics.figures.sentences import count_of
from bump_diffusion.papers.semantics.figures.used import average_fates
from bump_diffusion.papers.semantics.figures.x_and_y import find_split, follow_layers
from bump_diffusion.runs.record import Record

PAGES = {1: "learned", 2: "three_phases", 3: "used", 4: "x_and_y"}
"""The page behind the answer to each claim."""


def describe_whole(images: list[Record], controls: list[Record], patched: list[Record]) -> Markdown:
    """Say in two sentences what the book finds of the phases, of order and of its use."""
    passed = int(pass_in_order(first_phases(frame(images), "generation")).sum())
    order = read_order(controls)
    clean = order[(order["layer"] == "layer4") & (order["noise"] == 0)]
    clean = clean.groupby("features")["order"].mean()
    with_image = clean["untrained, ablated"] > clean["ablated"] / 2
    fates = average_fates(controls)
    largest = fates.loc[max(fates.index.unique("N"))]
    needed = largest.loc["layer4", "correct"] < largest.loc["", "correct"] / 2
    split, N = find_split(follow_layers(patched)), patched[0].configuration.N
    return Markdown(
        f"Networks that learn to draw a bump pass through the phases that the paper describes in "
        f"{count_of(passed, len(images))} runs, but the order that it reads from their layer 4 "
        + ("comes mostly with the label and the image. " if with_image else "is mostly learned. ")
        + f"Images of {N} × {N} pixels {'need' if needed else 'do not need'} that layer, yet in "
        f"{count_of(len(split), len(patched))} networks it holds one coordinate alone, and the "
        "other takes another way."
    )


def render_claims(
    answers: Mapping[int, Markdown], judged: pd.DataFrame, records: list[Record]
) -> Page:
    """List the paper's claims with our answers, and how the frozen criteria judge each so far."""
    claims = []
    for number, answer in answers.items():
        verdicts = judged.loc[judged["claim"] == number, "verdict"].value_counts()
        tally = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        claims.append((number, TITLES[number], answer.data, f"{PAGES[number]}.html", tally))
    return Page("answers", records, claims=claims)
