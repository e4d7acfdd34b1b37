"""The page *Does it compose?*: combinations of x and y that were never trained."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.composition import score_regions, share_destinations
from bump_diffusion.data.splits import in_core
from bump_diffusion.data.tasks import task_of
from bump_diffusion.live.elements import Checkpoint, show_networks
from bump_diffusion.live.export import read_trajectory
from bump_diffusion.metrics.sampling import generate
from bump_diffusion.models.quantize import restore_state
from bump_diffusion.models.unet import build_model
from bump_diffusion.page.axes import show_pixels, spaced_indices
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.tables import Answer, Lead, Page, Table
from bump_diffusion.page.words import percent_range
from bump_diffusion.papers.semantics.criteria import CURE
from bump_diffusion.papers.semantics.cure import COMPOSES, DRAWS, classify_last, region_accuracy
from bump_diffusion.papers.semantics.figures.confirmed import list_missing
from bump_diffusion.papers.semantics.figures.sentences import name_runs
from bump_diffusion.papers.semantics.gaps import (
    COMPARED,
    EVERY_GAP,
    GAPS,
    average_core,
    classify_runs,
    find_judged,
    is_trained,
    score_biases,
)
from bump_diffusion.papers.semantics.palette import REQUESTED
from bump_diffusion.runs.experiments import EXPERIMENTS, experiment
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import default_store

LONGER = "longer-baseline"
"""The experiment of networks without a bias that are trained for longer."""


def describe_composition(
    classified: pd.DataFrame,
    records: list[Record],
    larger: pd.DataFrame,
    others: list[Record],
    longer: list[Record],
) -> Answer:
    """Say what networks draw of combinations that they were never trained on.

    `larger` and `others` are of `load_larger`; of `longer`, of `load_longer`, a sentence further
    down the page is.
    """
    verdict, text = "None of the networks that this page compares has been trained yet.", ""
    if records:
        verdict = conclude(classified)
        text = f"{summarize(classified)} ({name_runs(records)})."
    if others:
        by_bias = score_biases(larger).groupby("bias", sort=False)
        core, trained = (by_bias[region].mean() for region in ("core", "trained"))
        text += (
            f" On images of {others[0].configuration.N} pixels a side, the paper's size, it is "
            f"{_both(core)} ({' and '.join(map(str, by_bias.size()))} networks; of what they were "
            f"trained on {_both(trained)} are right)."
        )
    there = {record.configuration for record in longer}
    not_there = [c.id for c in experiment(LONGER) if c not in there]
    missing = [*list_missing(CURE), *not_there]
    return Answer(Lead(verdict, text), [*records, *others, *longer], missing)


def conclude(classified: pd.DataFrame) -> str:
    """Say how many held-out pairs are drawn, without a bias and with lines."""
    without, lines = average_core(classified)[list(COMPARED[:2])]
    return (
        f"Of pairs well inside {_name_gap(classified)}, which training left out, a network "
        f"that is given x and y as a list of numbers draws {_tell_how_many(without)}. One that "
        f"is given them as two lines beside the image draws {_tell_how_many(lines)}; but the lines "
        "show it the place."
    )


def _name_gap(classified: pd.DataFrame) -> str:
    return GAPS.get(classified["held_out"].iloc[0], "a gap")


def _tell_how_many(share: float) -> str:
    if share > COMPOSES:
        return "most" if share < DRAWS else "nearly all"
    return "hardly any" if share < 1 - DRAWS else "some"


def _both(shares: pd.Series) -> str:
    return " and ".join(f"{share:.0%}" for share in shares)


def summarize(classified: pd.DataFrame) -> str:
    """Say in two sentences, the last without its point, what `COMPARED` networks draw."""
    scores = score_biases(classified)["core"].groupby("bias", sort=False)
    without, lines = (scores.get_group(bias) for bias in COMPARED[:2])
    networks = f"{without.min():.0%} to {without.max():.0%} in {len(without)} networks"
    return (
        f"We leave combinations of x and y out of training ({_name_gap(classified)}); every x and "
        "every y still occurs, with other partners. Asked for a place well inside what is left "
        "out, the usual network, whose blocks are given the label as a vector, draws "
        f"{without.mean():.0%} right "
        f"({networks if len(without) > 1 else 'one network'}); if it gets the label as two extra "
        "input images, one with a line at x and one with a line at y, and in no other way, "
        f"{lines.mean():.0%}"
    )


@drawn
def right_over_plane(records: list[Record], classified: pd.DataFrame) -> Drawn:
    """Draw the share of right images at each requested position: a row for each way in, a column
    for what is left out. They are of `load_planes`.
    """
    N = records[0].configuration.N
    examples = {r.configuration.held_out: r.configuration for r in records}
    gaps = [gap for gap in GAPS if gap in examples]
    shape, size = (len(COMPARED), len(gaps)), (WIDTH, 1.1 + 1.15 * len(COMPARED))
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, sharey=True, squeeze=False)
    centres, edges = (np.arange(8 * N) + 0.5) / 8 - 0.5, np.arange(N + 1) - 0.5
    for gap, column in zip(gaps, axes.T, strict=True):
        trained = np.kron(is_trained(examples[gap]), np.ones((8, 8)))
        column[0].set_title(GAPS[gap])
        for ax, bias in zip(column, COMPARED, strict=True):
            table = classified[(classified["bias"] == bias) & (classified["held_out"] == gap)]
            right = table.groupby(["mu_y", "mu_x"])["correct"].mean().unstack()
            shares = right.reindex(index=range(N), columns=range(N))
            style = {"cmap": "cividis", "vmin": 0, "vmax": 1, "edgecolors": "face"}
            drawn_shares = ax.pcolormesh(edges, edges, shares, **style)
            ax.contour(centres, centres, trained, levels=[0.5], colors=REQUESTED, linewidths=1.5)
            ax.contourf(centres, centres, trained, levels=[-1, 0.5], colors="none", hatches=["..."])
            ax.set(aspect="equal", xlim=(-0.5, N - 0.5), ylim=(N - 0.5, -0.5))
            ax.grid(False)
            ax.patch.set(hatch="////", edgecolor="grey", linewidth=0)  # where nothing was tried
    for ax, bias in zip(axes[:, 0], COMPARED, strict=True):
        ax.set_ylabel(f"{bias}\nrequested y".replace(", ", ",\n"))
    for ax in axes[-1]:
        ax.set_xlabel("requested x")
    beside = {"location": "bottom", "shrink": 0.6, "aspect": 30}
    figure.colorbar(drawn_shares, ax=axes, label="share right", **beside)
    return figure, (
        "The share of right images at each requested position, for three ways in which the label "
        f"enters, with other combinations left out. In the core of these, right are "
        f"{_name_shares(classified)}."
    )


def describe_plane(classified: pd.DataFrame) -> Markdown:
    """Say what to see in `right_over_plane`."""
    panel = ["held_out", "bias"]
    asked = classified[[*panel, "mu_x", "mu_y"]].drop_duplicates().value_counts(panel)
    places = classified["mu_x"].nunique() * classified["mu_y"].nunique()
    untried = " (a place that was never asked for is hatched)" if asked.min() < places else ""
    return Markdown(
        f"Bright is right, dark is wrong{untried}. In the first row the label enters "
        "as a vector, in the others it is drawn in two more input images. Where dots are, inside "
        "the orange outlines, no combination was trained. At least two pixels from what was "
        f"trained, right are, from left to right: {_name_shares(classified)}."
    )


def _name_shares(classified: pd.DataFrame) -> str:
    """The shares right in the core, by bias and by what is left out."""
    core = {gap: average_core(of_gap) for gap, of_gap in classified.groupby("held_out")}
    return "; ".join(
        f"{bias} {', '.join(f'{core[gap][bias]:.0%}' for gap in GAPS if gap in core)}"
        for bias in COMPARED
    )


def ask_beside(networks: Mapping[str, Record]) -> Page:
    """Show trained networks, by name, side by side, that are asked for the same combination.

    Their records have the extra "trajectory", and hold out the same combinations.
    """
    first = next(iter(networks.values()))
    checkpoints = {
        name: [Checkpoint(record, step, f"{step:,} steps") for step in read_trajectory(record)]
        for name, record in networks.items()
    }
    return show_networks(
        checkpoints,
        draw_held_out(list(networks.values()), list(networks)),
        together=True,
        held_out=is_trained(first.configuration) == 0,
        start=(0.25, 0.3),
    )


@drawn
def draw_held_out(records: list[Record], names: list[str]) -> Drawn:
    """Draw what networks make of combinations in the core of what is held out: a row for each."""
    task = task_of(records[0].configuration)
    held = task.held_out_labels()
    core = held[in_core(held, task.labels())]
    labels = core[spaced_indices(len(core), 6)]
    figure, axes = plt.subplots(len(records), len(labels), figsize=(WIDTH, 1.3 * len(records)))
    for row, record, name in zip(axes, records, names, strict=True):
        model = build_model(record.configuration).eval()
        model.load_state_dict(restore_state(read_trajectory(record)[record.configuration.steps]))
        images, *_ = generate(record.configuration, model, labels, ("held-out", "shown"))
        for ax, image, label in zip(row, images, labels, strict=True):
            show_pixels(ax, image[0].numpy(), -1, 1)
            ax.plot(*label.tolist(), "+", color=REQUESTED, markersize=8)
        row[0].set_title(name, loc="left")
    return figure, (
        f"What {len(records)} networks ({', '.join(names)}) draw of {len(labels)} combinations "
        "that were never trained; + the requested position."
    )


def describe_failure(classified: pd.DataFrame) -> Markdown:
    """Say where the bumps are that the network without a bias draws in the core."""
    core = classified[(classified["bias"] == COMPARED[0]) & (classified["region"] == "core")]
    shares = core["destination"].value_counts(normalize=True)
    one_axis = shares.get("same x", 0) + shares.get("same y", 0)
    return Markdown(
        "How does the network without a bias fail? Of its images for what was never trained, at "
        f"least two pixels from what was, {shares.get('no single bump', 0):.0%} do not show one "
        f"bump; in {one_axis:.0%} one coordinate is the requested one and the other is elsewhere; "
        f"{shares.get('nearest trained', 0):.0%} are a copy of the nearest trained bump; "
        f"{shares.get('elsewhere', 0):.0%} are elsewhere; {shares.get('requested', 0):.0%} are "
        "right."
    )


def load_longer() -> list[Record]:
    """Find the networks without a bias that were trained for longer; nothing is trained."""
    found = (default_store().get(c, extras) for c, extras in experiment(LONGER).items())
    return [record for record in found if record is not None]


def describe_limits(
    classified: pd.DataFrame, records: list[Record], longer: list[Record]
) -> Markdown:
    """Say what is right of all that was left out, edges too, and if more training helps.

    Of the networks without a bias of `load_planes`; how much more is right at the end than after
    two thirds of the training, and in those of `load_longer`.
    """
    usual = classified[classified["bias"] == COMPARED[0]]
    everywhere = usual.query("region != 'trained'").groupby("held_out")["correct"].mean()
    at_end = usual.query("region == 'core'").groupby("held_out")["correct"].mean()
    before: dict[str, list[float]] = {}
    for record in records:
        if record.id in set(usual["record"]):
            c, steps = record.configuration, record.images["step"].unique()
            earlier = steps[np.abs(steps - 2 / 3 * c.steps).argmin()]
            scores = score_regions(classify_last(record, at_step=earlier))
            before.setdefault(c.held_out, []).append(scores.get("core", np.nan))
    named = ", ".join(
        f"{np.nanmean(before[gap]):.0%} to {at_end[gap]:.0%} ({GAPS[gap]})"
        for gap in GAPS
        if gap in before
    )
    return Markdown(
        "Two things to know about these numbers. They are of combinations at least two pixels from "
        "all trained ones; of all that were left out, those at the edge too, the networks without "
        f"a bias draw {percent_range(everywhere)} right. And they were still changing: in "
        f"the last third of their training the share goes from {named}. "
        f"{_describe_longer(longer) or 'With more training they may draw more.'}"
    )


def _describe_longer(longer: list[Record]) -> str:
    """What networks draw that were trained for longer, by what was left out; empty without any."""
    core: dict[str, list[float]] = {gap: [] for gap in GAPS}
    for record in longer:
        core[record.configuration.held_out].append(region_accuracy(record, "core"))
    parts = [
        f"{np.mean(scores):.0%} ({GAPS[gap]}, {len(scores)} network{'s' * (len(scores) > 1)})"
        for gap, scores in core.items()
        if scores
    ]
    steps = EXPERIMENTS[LONGER].set["steps"]
    return f"Trained for longer, {steps:,} steps, it is {', '.join(parts)}." if parts else ""


def tabulate_destinations(records: list[Record], classified: pd.DataFrame) -> Table:
    """Tabulate where the bumps of held-out requests are, by bias, core and rim apart."""
    shares = classified.groupby("bias", sort=False).apply(share_destinations)
    return Table(shares.round(2).reset_index(), records)


def tabulate_elsewhere(geometry: str) -> Table:
    """Tabulate the accuracy of the judged runs that hold other combinations out, by bias."""
    left_out = (f"{geometry}-", "imbalanced-", "full-")
    others = (name for name in CURE.conditions if not name.startswith(left_out))
    classified, records = classify_runs(find_judged(others))
    if not records:
        return Table(classified, records, "No such network has been trained yet.")
    about = ["N", "held_out", "bias"]
    of_run = classified.groupby([*about, "record", "region"], sort=False)["correct"]
    scores = of_run.mean().unstack(sort=False)
    by_bias = scores[["core", "rim", "trained"]].groupby(about, sort=False)
    table = by_bias.mean().round(2).assign(networks=by_bias.size()).reset_index()
    table["held_out"] = table["held_out"].replace(EVERY_GAP)
    return Table(table.rename(columns={"held_out": "held out"}).rename_axis(columns=None), records)
