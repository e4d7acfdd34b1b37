"""The page *What moves the phases*: when generation enters each phase, by spacing and by spread."""

from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.learning import learning_times
from bump_diffusion.page.axes import thousands
from bump_diffusion.page.tables import Lead
from bump_diffusion.papers.semantics.figures.comparisons import SYMBOLS
from bump_diffusion.papers.semantics.figures.sentences import name_runs
from bump_diffusion.runs.record import Record


def range_of_times(records: list[Record], field: str) -> dict[float, float]:
    """Average the images seen to half of all correct, by a field; those reached in all runs."""
    table = frame(records)
    values = table.groupby("record")[field].first()
    times = learning_times(table, "accuracy", 0.5).groupby(values)
    return times.agg(lambda of_runs: of_runs.mean(skipna=False)).dropna().to_dict()


def describe_both(density: list[Record], spread: list[Record]) -> Lead:
    """Say how much spacing and spread each change the images until half of all are right."""
    texts, factors = [], {}
    for name, records, field in (("spacing", density, "d_x"), ("spread", spread, "sigma")):
        times = range_of_times(records, field)
        if len(times) < 2:
            texts.append(f"by an unknown factor with the {name}")
            continue
        factor = factors[name] = max(times.values()) / min(times.values())
        least, *_, most = times
        inner = [times[value] for value in times if least < value < most]
        without = (
            f"; {max(inner) / min(inner):.1f} without the least and the most"
            if len(inner) > 1
            else ""
        )
        texts.append(
            f"by a factor of {factor:.1f} with the {name} ({least:g} to {most:g} pixels{without})"
        )
    verdict = "Too few networks learn the task to say what moves the phases."
    if len(factors) > 1:
        more, less = sorted(factors, key=factors.get, reverse=True)
        names = {"spread": "How large the bumps are", "spacing": "How far positions lie apart"}
        verdict = f"{names[more]} moves the phases more than {names[less].lower()}."
    return Lead(
        verdict,
        "The training images that it takes until half of all are right change "
        f"{' and '.join(texts)} ({name_runs([*density, *spread])}).",
    )


def describe_diagram(records: list[Record], field: str, means: str) -> Markdown:
    """Say what to see in the phase diagram of a field, whose high values mean what `means` says."""
    times, symbol, N = range_of_times(records, field), SYMBOLS[field], records[0].configuration.N
    missed = {getattr(r.configuration, field) for r in records} - times.keys()
    text = (
        f"Phases over training on images of {N} × {N} pixels, for what is drawn (above) and what "
        f"layer 4 represents (below). Each bar is a data set, from {means}. A boundary that runs "
        f"straight up says that {symbol} does not matter. The fainter a colour, the fewer of a "
        "data set's networks are in that phase."
    )
    if times:
        first, last = min(times, key=times.get), max(times, key=times.get)
        text += (
            f" Half of the images are right after {thousands(times[first])} training images at "
            f"{symbol} = {first:g}, soonest, and after {thousands(times[last])} at "
            f"{symbol} = {last:g}."
        )
    for value in sorted(missed):
        text += f" At {symbol} = {value:g} not every network gets that far."
    return Markdown(text)
