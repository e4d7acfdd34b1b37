"""The chapter *Is the order learned or put in?*: probes with controls, and interventions."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bump_diffusion.analysis.phases import ORDER, checkpoints_with_order
from bump_diffusion.analysis.settings import by_setting
from bump_diffusion.metrics.interventions import LAYERS
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.page.words import with_range
from bump_diffusion.papers.semantics.palette import FEATURE_STYLES, OUTCOME_COLOURS, SCHEME_COLOURS
from bump_diffusion.papers.semantics.quantities import order_at_end
from bump_diffusion.runs.record import Record


def which_first(records: list[Record]) -> Markdown:
    """How well the checkpoints can tell whether order or accuracy comes first, in a sentence."""
    gaps, known, same = [], 0, 0
    for record in records:
        table = checkpoints_with_order(record).query("step > 0")
        gaps += np.diff(np.log2(table["images_seen"])).tolist()
        reached = {"order": table["order"] >= ORDER, "accuracy": table["accuracy"] >= 0.5}
        if all(there.any() for there in reached.values()):
            known += 1
            same += reached["order"].argmax() == reached["accuracy"].argmax()
    return Markdown(
        f"Checkpoints lie {np.median(gaps):.2f} doublings of the images apart. In {same} of the "
        f"{known} runs that get to both, order and accuracy pass one half between the same two "
        "checkpoints: there, which comes first is a matter of how the values between are filled in."
    )


@drawn
def order_against_accuracy(records: list[Record]) -> tuple[Figure, str]:
    """Accuracy against order, label ablated, of every trained checkpoint, by conditioning."""
    table = _trained_checkpoints(records)
    schemes = list(dict.fromkeys(table["conditioning"]))
    figure, axes = plt.subplots(
        1, len(schemes), figsize=(WIDTH, 2.9), sharex=True, sharey=True, squeeze=False
    )
    said = []
    for ax, scheme in zip(axes[0], schemes, strict=True):
        part = table[table["conditioning"] == scheme]
        colour = SCHEME_COLOURS[scheme]
        ax.scatter(part["order"], part["accuracy"], s=14, color=colour, alpha=0.7, lw=0)
        ax.axvline(ORDER, color="#555555", lw=0.8)
        ax.axhline(0.5, color="#555555", lw=0.8)
        ax.set(title=scheme, xlabel="", ylim=(-0.04, 1.04))
        counts = pd.crosstab(part["order"] >= ORDER, part["accuracy"] >= 0.5)
        counts = counts.reindex(index=[False, True], columns=[False, True], fill_value=0)
        for row, column in itertools.product((0, 1), repeat=2):
            ax.text(
                (0.03, 0.97)[row],
                # Beside the diagonal, along which the points lie.
                ((0.43, 0.93), (0.08, 0.57))[row][column],
                counts.iloc[row, column],
                transform=ax.transAxes,
                ha="left" if row == 0 else "right",
                va="center",
                fontsize=9,
                fontweight="bold",
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
            )
        said.append(
            f"{scheme}: accurate and ordered {counts.iloc[1, 1]}, accurate without order "
            f"{counts.iloc[0, 1]}, ordered without accuracy {counts.iloc[1, 0]}, neither "
            f"{counts.iloc[0, 0]}"
        )
    axes[0, 0].set_ylabel("accuracy (share of images)")
    seeds = len({r.configuration.seed for r in records})
    figure.supxlabel(
        rf"order: $R^2$ of the requested position, label ablated. Each point a checkpoint, {seeds} "
        "seeds;\nthe numbers count those in each quarter",
        fontsize=8,
    )
    return figure, f"Accuracy against order of every checkpoint. {'; '.join(said)}."


def _trained_checkpoints(records: list[Record], features: str = "ablated") -> pd.DataFrame:
    """The trained checkpoints of all runs, with their order parameters and conditioning."""
    tables = [
        checkpoints_with_order(r, features).assign(conditioning=r.configuration.conditioning)
        for r in records
    ]
    return pd.concat(tables, ignore_index=True).query("step > 0")


CONTROLS = {
    "as published": ("trained", "requested"),
    "label ablated": ("ablated", "requested"),
    "label ablated, generated position": ("ablated", "generated"),
    "untrained network": ("untrained", "requested"),
    "untrained, label ablated": ("untrained, ablated", "requested"),
    "shuffled labels": ("trained", "shuffled"),
}
"""The features and the target of the published probe and of each of its controls."""


@drawn
def controls_by_scheme(records: list[Record]) -> tuple[Figure, str]:
    """R squared of position at layer 4 at the end, as published and with each control."""
    table = pd.concat([r.probes.assign(scheme=r.configuration.conditioning) for r in records])
    table = table[table["step"] == table["step"].max()]
    schemes = list(dict.fromkeys(r.configuration.conditioning for r in records))
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True, sharex=True)
    said = []
    for ax, (reduction, title) in zip(
        axes,
        {"umap": "from the\nUMAP embedding", "direct": "from all\nfeatures"}.items(),
        strict=True,
    ):
        for offset, scheme in enumerate(schemes):
            for place, (features, target) in enumerate(reversed(CONTROLS.values())):
                part = table[
                    (table["scheme"] == scheme)
                    & (table["features"] == features)
                    & (table["target"] == target)
                    & (table["reduction"] == reduction)
                ]["r2"].dropna()
                y = place + 0.22 * (len(schemes) // 2 - offset)
                ax.plot(part, [y] * len(part), "o", markersize=3, color=SCHEME_COLOURS[scheme])
                if reduction == "direct":
                    name = list(CONTROLS)[len(CONTROLS) - 1 - place]
                    said.append(f"{scheme}, {name} {part.mean():.2f}")
        ax.set(title=title, xlim=(-0.3, 1.05), xlabel=r"$R^2$")
        ax.set_yticks(range(len(CONTROLS)), list(reversed(CONTROLS)))
    handles = [Line2D([], [], marker="o", ls="", color=SCHEME_COLOURS[s], label=s) for s in schemes]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure, f"Probes of layer 4 at the end, means from all features: {'; '.join(said)}."


def order_learned_table(records: list[Record]) -> pd.DataFrame:
    """What training adds to the order at the end, from all features and from the UMAP embedding.

    R^2 of the requested position, label ablated, the worse axis, as `claims.order_at_end`: trained,
    untrained on the same images, and the difference. Means over seeds with their range.
    """
    rows = []
    for where, own in by_setting(records, "setting").items():
        for reduction, name in {"direct": "all features", "umap": "UMAP embedding"}.items():
            trained, untrained = np.array([order_at_end(r, reduction) for r in own]).T
            rows.append(
                {
                    "setting": where,
                    "read from": name,
                    "trained": with_range(trained),
                    "untrained": with_range(untrained),
                    "difference": with_range(trained - untrained),
                    "final accuracy": with_range(r.checkpoints["accuracy"].iloc[-1] for r in own),
                }
            )
    return pd.DataFrame(rows)


def order_by_timestep(records: list[Record]) -> pd.DataFrame:
    """The order of the probed layer in less and in more noise, beside the untrained network's.

    R^2 of the requested position, label ablated, from all features, along the worse axis, at the
    end of training (`interventions.probe_layers`): of samples under way and of noised bumps, by
    timestep. Means over seeds with their range; below 0, where nothing is read, counts as 0.
    """
    features = {"ablated": "trained", "untrained, ablated": "untrained"}
    rows = []
    for where, own in by_setting(records, "setting").items():
        tables = [
            r.layers.query(f"layer == {r.configuration.probe_layer!r} and target == 'requested'")
            for r in own
        ]
        runs = pd.concat(tables, keys=range(len(own)), names=["run"])
        worse = runs.groupby(["timestep", "input", "features", "run"])["r2"].min().clip(lower=0)
        for timestep in sorted(runs.query("input == 'sample'")["timestep"].unique()):
            columns = {
                f"{image}, {name}": with_range(worse[timestep, image, network])
                for image in ("sample", "bump")
                for network, name in features.items()
            }
            rows.append({"setting": where, "timestep": f"{timestep}"} | columns)
    return pd.DataFrame(rows)


@drawn
def layers_and_inputs(records: list[Record]) -> tuple[Figure, str]:
    """R squared of position at each layer, noise level and input, with all controls, by scheme."""
    table = pd.concat([r.layers.assign(scheme=r.configuration.conditioning) for r in records])
    schemes = list(dict.fromkeys(r.configuration.conditioning for r in records))
    table["seen"] = table["input"] + ", t = " + table["timestep"].astype(str)
    order = list(dict.fromkeys(zip(table["input"], table["timestep"], strict=True)))
    order = sorted(order, key=lambda seen: (["sample", "bump", "noise"].index(seen[0]), seen[1]))
    columns = [f"{name}, t = {t}" for name, t in order]
    figure, axes = plt.subplots(
        len(CONTROLS), len(schemes), figsize=(WIDTH, 11.5), sharex=True, sharey=True, squeeze=False
    )
    for row, (title, (features, target)) in zip(axes, CONTROLS.items(), strict=True):
        own = table[(table["features"] == features) & (table["target"] == target)]
        for ax, scheme in zip(row, schemes, strict=True):
            part = own[own["scheme"] == scheme]
            mean = part.pivot_table(index="layer", columns="seen", values="r2")
            mean = mean.reindex(index=LAYERS, columns=columns)
            image = ax.imshow(mean, vmin=0, vmax=1, cmap="viridis", aspect="auto")
            ax.grid(False)
            ax.set_xticks(range(len(columns)), columns)
            ax.tick_params(axis="x", rotation=90)
            ax.set_yticks(range(len(LAYERS)), LAYERS)
        row[0].set_ylabel(title.replace(", ", ",\n"))
    for ax, scheme in zip(axes[0], schemes, strict=True):
        ax.set_title(scheme)
    figure.colorbar(image, ax=axes, label=r"$R^2$ (below 0 drawn as 0)", shrink=0.5)
    figure.supxlabel("input and timestep; blank: not defined", fontsize=8)
    at = table.query("layer == 'layer4' and input == 'noise' and target == 'requested'")
    at = at.groupby(["scheme", "features"])["r2"]
    said = "; ".join(f"{s}, {FEATURE_STYLES[f][0]} {v:.2f}" for (s, f), v in at.mean().items())
    return figure, (
        "R squared by layer, input and timestep; mean over seeds and axes. At layer 4 with pure "
        f"noise as input: {said}."
    )


@drawn
def interventions(records: list[Record]) -> tuple[Figure, str]:
    """What is drawn when a block's label, or a layer's features, are exchanged or taken away."""
    table = pd.concat(
        [r.interventions.assign(scheme=r.configuration.conditioning) for r in records]
    )
    # What is misplaced by one's own request but lies at the other's is told apart.
    table["elsewhere"] = (table["misplaced"] - table["at_other"]).clip(lower=0)
    schemes = list(dict.fromkeys(r.configuration.conditioning for r in records))
    kinds = {
        "correct": ("at its own place", OUTCOME_COLOURS["correct"]),
        "at_other": ("at the other's place", "#D55E00"),
        "elsewhere": ("elsewhere", OUTCOME_COLOURS["misplaced"]),
        "several": ("several bumps", OUTCOME_COLOURS["several"]),
        "none": ("no bump", OUTCOME_COLOURS["none"]),
    }
    mean = table.groupby(["scheme", "intervention", "layer"], sort=False)[list(kinds)].mean()
    rows = list(dict.fromkeys(mean.index.droplevel("scheme")))
    groups = list(dict.fromkeys(intervention for intervention, _ in rows))
    rows.sort(key=lambda row: groups.index(row[0]))
    figure, axes = plt.subplots(
        1, len(schemes), figsize=(WIDTH, 0.2 * len(rows) + 1.6), sharey=True, squeeze=False
    )
    places = []
    for place, (intervention, _) in enumerate(rows):
        new_group = place and intervention != rows[place - 1][0]
        places.append((places[-1] if places else 0) - 1 - 0.6 * bool(new_group))
    for ax, scheme in zip(axes[0], schemes, strict=True):
        left = np.zeros(len(rows))
        for kind, (_, colour) in kinds.items():
            width = mean.loc[scheme].reindex(rows)[kind].to_numpy()
            ax.barh(places, width, left=left, color=colour, height=0.85)
            left += width
        ax.set(title=scheme, xlim=(0, 1), xticks=[0, 0.5, 1])
        ax.grid(False)
    names = [f"{intervention} {layer}".strip() for intervention, layer in rows]
    axes[0, 0].set_yticks(places, names, fontsize=7)
    handles = [Patch(color=colour, label=label) for label, colour in kinds.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    seeds = len({r.configuration.seed for r in records})
    figure.supxlabel(f"share of images, mean over {seeds} seeds", fontsize=8)
    said = "; ".join(
        f"{scheme}: {mean.loc[(scheme, 'other features', 'layer4'), 'correct']:.0%} stay at their "
        f"own place, {mean.loc[(scheme, 'other features', 'layer4'), 'at_other']:.0%} go to the "
        "other's"
        for scheme in schemes
    )
    return figure, f"Images under interventions. With the output of layer 4 exchanged, {said}."


def interventions_in_words(records: list[Record]) -> Markdown:
    """What exchanging layer 4 does to the images, and which label matters, by scheme."""
    lines = []
    for scheme, own in by_setting(records, "conditioning").items():
        table = pd.concat([record.interventions for record in own])
        mean = table.groupby(["intervention", "layer"])[["correct", "at_other"]].mean()
        labels = mean.loc["other label", "correct"].sort_values()
        fewest = ", then ".join(
            f"{block} ({share:.0%} still right)" for block, share in labels.iloc[:2].items()
        )
        exchanged = mean.loc["other features"]
        across = exchanged["at_other"].idxmax()
        lines.append(
            f"- {scheme.capitalize()}: {mean.loc[('nothing', ''), 'correct']:.0%} of the images "
            "are right if nothing is changed, and if outputs are exchanged, of layer 4 "
            f"{exchanged.loc['layer4', 'correct']:.0%}, of the bottleneck "
            f"{exchanged.loc['bottleneck', 'correct']:.0%}. Exchanging the label of one block does "
            f"most harm at {fewest}. The largest share at the other's place, "
            f"{exchanged.loc[across, 'at_other']:.0%}, comes with the output of {across} exchanged."
        )
    return Markdown("\n".join(lines))
