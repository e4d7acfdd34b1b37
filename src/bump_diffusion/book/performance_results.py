"""What `make bench` measured.

`data/benchmarks/cpu.json`, and `cuda.json` where a GPU was to be had, hold the machine, the
versions, the commit, each contender's network, and the rows of the table: a median with its spread
for us and for each peer, their ratio, and whether the aim is met (`benchmarks/suite.py`).
"""

import json
from typing import Any

import pandas as pd

from bump_diffusion.errors import choose
from bump_diffusion.files import ROOT

BENCHMARKS = ROOT / "data" / "benchmarks"
OURS = "this package"
LIBRARIES = ("diffusers", "denoising-diffusion-pytorch")


class Results:
    """One run of the benchmarks on one machine, from the `content` of its file."""

    def __init__(self, content: dict[str, Any]):
        self.content = content
        self.rows: list[dict[str, Any]] = content["rows"]

    @property
    def origin(self) -> str:
        """The machine, the date, the commit and the versions, in a sentence."""
        made = self.content
        versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
        return (
            f"Measured {made['date']} on {made['machine']}, {made['cores']} cores, in "
            f"{made['minutes']:.0f} minutes, commit {made['commit']}, {versions}."
        )

    @property
    def curves(self) -> dict[str, dict[str, list[float]]]:
        """By recipe: the `images` seen, the `seconds` and the `accuracy` at each evaluation."""
        return next(row["curves"] for row in self.rows if "curves" in row)

    def tabulate_networks(self) -> pd.DataFrame:
        """Tabulate each contender's network: parameters and operations an image."""
        return pd.DataFrame(
            {
                "shape": n["shape"],
                "images": n["image"],
                "batch": n["batch"],
                "network": OURS if n["network"] == "ours" else n["network"],
                "parameters": f"{n['parameters']:,}",
                "GFLOP forward": f"{n['gflop_forward']:.3g}",
                "GFLOP training": f"{n['gflop_training']:.3g}",
            }
            for n in self.content["networks"]
        )

    def tabulate_rows(self, *, with_libraries: bool) -> pd.DataFrame:
        """Tabulate the rows with peers in `LIBRARIES`, or those with other peers or none.

        Medians with their spread, the ratio to the better peer, the aim and whether it is met; in
        the second table the peak of memory too, which is in `tabulate_memory` for the first.
        """
        columns = {
            True: [*LIBRARIES, "ratio", "aim"],
            False: ["beside", "ratio", "aim", "peak MiB"],
        }
        rows = [
            _describe_row(row)
            for row in self.rows
            if row["peers"].keys().isdisjoint(LIBRARIES) != with_libraries
        ]
        return pd.DataFrame(rows, columns=["measured", OURS, *columns[with_libraries]])

    def tabulate_memory(self) -> pd.DataFrame:
        """Tabulate the peak of memory, MiB, of each contender where both `LIBRARIES` are."""
        found = {
            row["name"]: {OURS: row["ours"]} | row["peers"]
            for row in self.rows
            if row["peers"].keys() >= set(LIBRARIES)
        }
        return pd.DataFrame(
            [
                {"measured": name} | {of: f"{one['peak_mib']:,.0f}" for of, one in each.items()}
                for name, each in found.items()
            ],
            columns=["measured", OURS, *LIBRARIES],
        )


def read_results(device: str) -> Results:
    """Read the committed results for "cpu" or "cuda". Raises UserError if there are none."""
    measured = [path.stem for path in BENCHMARKS.glob("*.json")]
    name = choose("a device that has been measured", device, measured)
    return Results(json.loads((BENCHMARKS / f"{name}.json").read_bytes()))


def _has_reached(row: dict[str, Any], name: str) -> bool:
    """Whether a contender, "ours" or a peer, reached the accuracy that a row asks for, if any."""
    return row.get("reached", {}).get(name, True)


def _describe_row(row: dict[str, Any]) -> dict[str, str]:
    """Write the cells of a row by their columns, those of both tables."""
    ratio = aim = ""
    if row["ratio"] is not None and _has_reached(row, "ours"):
        ratio = f"{'' if _has_reached(row, row['better_peer']) else '> '}{row['ratio']:.2f}"
    if row["least_ratio"] is not None:
        aim = f"at least {row['least_ratio']:g}"
    elif row["most"] is not None:
        aim = f"at most {row['most']:g} {row['unit']}"
    if row["met"] is not None:
        aim += ": met" if row["met"] else ": not met"
    order = sorted(row["peers"], key=[*LIBRARIES, *row["peers"]].index)
    contenders = {"ours": row["ours"]} | {peer: row["peers"][peer] for peer in order}
    peaks = [found["peak_mib"] for found in contenders.values() if found["peak_mib"] is not None]
    memory = " / ".join(f"{peak:,.0f}" for peak in peaks)
    texts = {name: _describe_contender(row, name, found) for name, found in contenders.items()}
    ours = texts.pop("ours")
    return {
        "measured": f"{row['name']} ({row['unit']})",
        OURS: ours,
        "beside": "; ".join(f"{peer}: {text}" for peer, text in texts.items()),
        "ratio": ratio,
        "aim": aim,
        "peak MiB": memory,
        **dict.fromkeys(LIBRARIES, ""),
        **texts,
    }


def _describe_contender(row: dict[str, Any], name: str, summary: dict[str, float]) -> str:
    """Write a contender's median with its spread; or where it was stopped before it got there."""
    median, low, high = (
        f"{summary[of]:,.0f}" if abs(summary[of]) >= 100 else f"{summary[of]:.3g}"
        for of in ("median", "low", "high")
    )
    if not _has_reached(row, name):
        return f"not after {median} ({row['curves'][name]['accuracy'][-1]:.0%} correct)"
    return median if summary["repetitions"] == 1 else f"{median} ({low} to {high})"
