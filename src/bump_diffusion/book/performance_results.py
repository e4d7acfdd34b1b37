"""What `make bench` measured.

`data/benchmarks/cpu.json`, and `cuda.json` where a GPU was to be had, hold the machine, the
versions, the commit, each contender's network, and the rows of the table: a median with its spread
for us and for each peer, their ratio, and whether the aim is met (`benchmarks/suite.py`).
"""

import json
from functools import cached_property
from typing import Any

import pandas as pd

from bump_diffusion.errors import choose
from bump_diffusion.files import ROOT

BENCHMARKS = ROOT / "data" / "benchmarks"
OURS = "this package"
LIBRARIES = ("diffusers", "denoising-diffusion-pytorch")


class Results:
    """One run of the benchmarks on one machine."""

    def __init__(self, content: dict[str, Any]):
        self.content = content
        self.rows: list[dict[str, Any]] = content["rows"]

    @cached_property
    def curves(self) -> dict[str, dict[str, list[float]]]:
        """By recipe: the `images` seen, the `seconds` and the `accuracy` at each evaluation."""
        return next(row["curves"] for row in self.rows if "curves" in row)

    def beside_libraries(self) -> pd.DataFrame:
        """A line for each row with peers in `LIBRARIES`: medians with spread, ratio and aim."""
        return pd.DataFrame(
            _measured(row)
            | {"ratio": _ratio(row)}
            | _judged(row)
            | {peer: _spread(row, peer) for peer in LIBRARIES}
            | {"peak MiB, in this order": _memory(row)}
            for row in self.rows
            if _beside_libraries(row)
        )

    def alone(self) -> pd.DataFrame:
        """A line for each other row, with what it is beside, if anything."""
        return pd.DataFrame(
            _measured(row)
            | {
                "beside": "; ".join(f"{peer}: {_spread(row, peer)}" for peer in row["peers"]),
                "ratio": _ratio(row),
            }
            | _judged(row)
            | {"peak MiB": _memory(row)}
            for row in self.rows
            if not _beside_libraries(row)
        )

    def networks(self) -> pd.DataFrame:
        """A line for each contender's network: parameters and operations an image."""
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

    @property
    def origin(self) -> str:
        """The machine, the date, the commit and the versions, in a sentence."""
        made = self.content
        versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
        return (
            f"Measured {made['date']} on {made['machine']}, {made['cores']} cores, in "
            f"{made['minutes']:.0f} minutes, commit {made['commit']}, {versions}."
        )


def read_results(device: str) -> Results:
    """The committed results for "cpu" or "cuda". Raises UserError if there are none."""
    found = [path.stem for path in BENCHMARKS.glob("*.json")]
    name = choose("a device that has been measured", device, found)
    return Results(json.loads((BENCHMARKS / f"{name}.json").read_bytes()))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _reached(row: dict[str, Any], name: str) -> bool:
    return row.get("reached", {}).get(name, True)


def _beside_libraries(row: dict[str, Any]) -> bool:
    return not row["peers"].keys().isdisjoint(LIBRARIES)


def _measured(row: dict[str, Any]) -> dict[str, str]:
    return {"measured": row["name"], "unit": row["unit"], OURS: _spread(row, "ours")}


def _judged(row: dict[str, Any]) -> dict[str, str]:
    return {"aim": _aim(row), "met": {None: "", True: "yes", False: "no"}[row["met"]]}


def _spread(row: dict[str, Any], name: str) -> str:
    summary = row["ours"] if name == "ours" else row["peers"].get(name)
    if summary is None:
        return ""
    text = _number(summary["median"])
    if not _reached(row, name):
        return f"not after {text} ({row['curves'][name]['accuracy'][-1]:.0%} correct)"
    if summary["repetitions"] == 1:
        return text
    return f"{text} ({_number(summary['low'])} to {_number(summary['high'])})"


def _ratio(row: dict[str, Any]) -> str:
    if row["ratio"] is None or not _reached(row, "ours"):
        return ""
    return f"{row['ratio']:.2f}" if _reached(row, row["better_peer"]) else f"> {row['ratio']:.2f}"


def _aim(row: dict[str, Any]) -> str:
    if row["least_ratio"] is not None:
        return f"ratio at least {row['least_ratio']:g}"
    return f"at most {row['most']:g} {row['unit']}" if row["most"] is not None else ""


def _memory(row: dict[str, Any]) -> str:
    # The libraries in the order of their columns.
    peers = [peer for peer in dict.fromkeys([*LIBRARIES, *row["peers"]]) if peer in row["peers"]]
    peaks = [row["ours"]["peak_mib"], *(row["peers"][peer]["peak_mib"] for peer in peers)]
    return " / ".join(f"{peak:,.0f}" for peak in peaks if peak is not None)
