"""Experiments: which configurations a question needs, and their records."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bump_diffusion.config import Configuration, configure, one_sentence
from bump_diffusion.errors import UserError, choose
from bump_diffusion.plain_yaml import read_yaml
from bump_diffusion.runs.record import EXTRAS

MAX_RUNS = 100_000
"""Runs of one experiment at most: all are held in memory."""


class Experiment(BaseModel):
    """Runs that belong together: a profile, fields set for all, fields that vary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = ""
    "What the runs are for, in a sentence."
    profile: str = "quick"
    "The profile that they start from."
    extras: tuple[str, ...] = ()
    "What the records hold besides (`record.EXTRAS`)."
    set: dict[str, Any] = Field(default_factory=dict)
    "Fields of the configuration and their values, for all runs."
    vary: dict[str, list[Any]] = Field(default_factory=dict)
    "Fields and the values each takes; every combination is a run."
    tied: dict[str, str] = Field(default_factory=dict)
    "Fields that have the value of another, in each run."
    symmetric: bool = False
    "Whether combinations with d_x above d_y are left out: exchanging the axes gives them."
    on_demand: bool = False
    "Whether no page's records come from it unless a reader asks for it by a parameter."

    def configurations(self) -> list[Configuration]:
        """One configuration per combination of the varied fields, the last varying fastest.

        Values that occur twice count once. The field `spacing` stands for d_x and d_y alike.
        """
        for field, values in self.vary.items():
            if not values:
                raise UserError(f"{field} varies over [], it must have at least one value.")
        if (runs := math.prod(len(values) for values in self.vary.values())) > MAX_RUNS:
            raise UserError(f"The fields that vary give {runs:,} runs; allowed: {MAX_RUNS:,}.")
        made = {}
        for values in itertools.product(*self.vary.values()):
            fields = {**self.set, **dict(zip(self.vary, values, strict=True))}
            fields |= {
                field: fields[other] for field, other in self.tied.items() if other in fields
            }
            if "spacing" in fields:
                spacing = fields.pop("spacing")
                for field in ("d_x", "d_y"):
                    _refuse_both("spacing", spacing, field, fields.get(field))
                number = isinstance(spacing, int | float) and not isinstance(spacing, bool)
                if not number or not 0.01 <= spacing <= 64:
                    raise UserError(
                        f"spacing is {spacing!r}, it must be a number from 0.01 to 64 (pixels)."
                    )
                fields |= {"d_x": float(spacing), "d_y": float(spacing)}
            c = configure(self.profile, **fields)
            if c.d_x <= c.d_y or not self.symmetric:
                made[c] = None
        if not made:
            raise UserError(
                "In a symmetric experiment d_x must be at most d_y for some run; exchange them."
            )
        return list(made)


def _parse(name: str, content: Any) -> Experiment:
    if not isinstance(content, dict):
        raise UserError(f"Experiment {name} is {content!r}, it must be a mapping of fields.")
    for field in content:
        choose(f"a field of experiment {name}", field, Experiment.model_fields)
    try:
        parsed = Experiment(**content)
    except ValidationError as error:
        raise UserError(f"In experiment {name}: {one_sentence(error)}") from None
    for field in parsed.vary:
        if field in parsed.set:
            raise UserError(f"{field} is in set and in vary; only one of them is allowed.")
    for field in itertools.chain(*parsed.tied.items()):
        choose("a field of a configuration", field, Configuration.model_fields)
    for extra in parsed.extras:
        choose(f"an extra of experiment {name}", extra, EXTRAS)
    return parsed


EXPERIMENTS: dict[str, Experiment] = {
    name: _parse(name, content)
    for file in sorted(Path(__file__).parents[1].glob("papers/*/experiments.yml"))
    for name, content in read_yaml(file.read_bytes()).items()
}


def find_experiment(name: str) -> Experiment:
    """An experiment by its name, or from a YAML file if the name ends in .yml or .yaml."""
    if not str(name).endswith((".yml", ".yaml")):
        return EXPERIMENTS[choose("an experiment", name, EXPERIMENTS)]
    try:
        return _parse(name, read_yaml(Path(name).read_bytes()))
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"{name} {error}.") from None


def experiment(
    name: str, /, profile: str | None = None, seeds: int | None = None, **overrides: Any
) -> dict[Configuration, tuple[str, ...]]:
    """Plan an experiment, by its name or from a YAML file of its fields.

    Returns its configurations, each with the names of the `extras` that its record holds besides.

    `profile` replaces the experiment's, unless it is "own"; `seeds` is the number of seeds, counted
    from the experiment's first; any other argument is a field of the configuration, or `spacing`
    for d_x and d_y alike (pixels), with a value for all runs or a list to vary it over. None leaves
    what the experiment says. Raises UserError for what does not exist or fit.
    """
    plan = find_experiment(name)
    if seeds is not None:
        if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= 1000:
            raise UserError(f"seeds is {seeds!r}, it must be a whole number from 1 to 1000.")
        _refuse_both("seeds", seeds, "seed", overrides.get("seed"))
        given = plan.vary.get("seed", [plan.set.get("seed", 0)])
        if not given or not all(type(seed) is int for seed in given):
            raise UserError(f"seed is {given!r}, it must be whole numbers where seeds are counted.")
        first = min(given)
        overrides["seed"] = list(range(first, first + seeds))
    overrides = {field: value for field, value in overrides.items() if value is not None}
    replaced = set(overrides)
    if "spacing" in replaced:
        replaced |= {"d_x", "d_y"}
    elif replaced & {"d_x", "d_y"}:
        replaced.add("spacing")
    kept = {**{f: [value] for f, value in plan.set.items()}, **plan.vary}
    fields = {field: values for field, values in kept.items() if field not in replaced}
    fields |= {f: value if _varies(f, value) else [value] for f, value in overrides.items()}
    profile = plan.profile if profile in (None, "own") else profile
    changed = plan.model_copy(update={"set": {}, "vary": fields, "profile": profile})
    return dict.fromkeys(changed.configurations(), plan.extras)


def unite(*plans: Mapping[Configuration, Sequence[str]]) -> dict[Configuration, tuple[str, ...]]:
    """Unite what `experiment` gives for several: each run once, with the extras of all of them."""
    united: dict[Configuration, tuple[str, ...]] = {}
    for plan in plans:
        for c, extras in plan.items():
            united[c] = tuple(dict.fromkeys((*united.get(c, ()), *extras)))
    return united


def _refuse_both(name: str, value: Any, other: str, other_value: Any) -> None:
    if other_value is not None:
        raise UserError(f"{name} is {value} and {other} is {other_value}; only one is allowed.")


def _varies(field: str, value: Any) -> bool:
    """Whether a value is a list to vary the field over, and not itself one of a field of lists."""
    known = Configuration.model_fields.get(field)
    if known is not None and get_origin(known.annotation) is tuple:
        return isinstance(value, list) and all(isinstance(v, list) for v in value)
    return isinstance(value, list)
