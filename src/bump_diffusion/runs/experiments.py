"""Experiments: which configurations a question needs, and their records."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bump_diffusion.config import Configuration, as_number, configure, one_sentence
from bump_diffusion.errors import UserError, choose


class Experiment(BaseModel):
    """Runs that belong together: a profile, fields set for all, fields that vary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = ""
    "What the runs are for, in a sentence."
    profile: str = "quick"
    "The profile that they start from."
    extras: tuple[Literal["weights", "interventions", "variation", "patching"], ...] = ()
    "What the records hold besides (`store.EXTRAS`)."
    set: dict[str, Any] = Field(default_factory=dict)
    "Fields of the configuration and their values, for all runs."
    vary: dict[str, list[Any]] = Field(default_factory=dict)
    "Fields and the values each takes; every combination is a run."
    symmetric: bool = False
    "Whether combinations with d_x above d_y are left out: exchanging the axes gives them."

    def configurations(self) -> list[Configuration]:
        """One configuration per combination of the varied fields, the last varying fastest.

        Values that occur twice count once. The field `spacing` stands for d_x and d_y alike.
        """
        for field in self.vary:
            if field in self.set:
                raise UserError(f"{field} is in set and in vary; only one of them is allowed.")
            if not self.vary[field]:
                raise UserError(f"{field} varies over [], it must have at least one value.")
        found = []
        for values in itertools.product(*self.vary.values()):
            fields = {**self.set, **dict(zip(self.vary, values, strict=True))}
            if "spacing" in fields:
                spacing = fields.pop("spacing")
                _refuse_both("spacing", spacing, fields, ["d_x", "d_y"])
                if isinstance(spacing, bool) or not isinstance(spacing, int | float):
                    raise UserError(f"spacing is {spacing!r}, it must be a number of pixels.")
                fields |= {"d_x": float(spacing), "d_y": float(spacing)}
            found.append(configure(self.profile, **fields))
        found = list(dict.fromkeys(found))
        if self.symmetric:
            found = [c for c in found if c.d_x <= c.d_y]
            if not found:
                raise UserError(
                    "In a symmetric experiment d_x must be at most d_y for some run; exchange them."
                )
        return found


def _parse(name: str, content: Any) -> Experiment:
    if not isinstance(content, dict):
        raise UserError(f"Experiment {name} is {content!r}, it must be a mapping of fields.")
    for field in content:
        choose(f"a field of experiment {name}", field, Experiment.model_fields)
    for part in ("set", "vary"):
        if isinstance(content.get(part), dict):
            values = {field: as_number(value) for field, value in content[part].items()}
            content = {**content, part: values}
    try:
        return Experiment(**content)
    except ValidationError as error:
        raise UserError(f"In experiment {name}: {one_sentence(error)}") from None


EXPERIMENTS: dict[str, Experiment] = {
    name: _parse(name, content)
    for file in sorted(Path(__file__).parents[1].glob("papers/*/experiments.yml"))
    for name, content in yaml.safe_load(file.read_text("utf-8")).items()
}


def experiment(
    name: str,
    /,
    profile: str | None = None,
    seeds: int | None = None,
    spacing: float | list[float] | None = None,
    **overrides: Any,
) -> dict[Configuration, tuple[str, ...]]:
    """Plan an experiment, by its name or from a YAML file of its fields.

    Returns its configurations, each with the names of the `extras` that its record holds besides.

    `profile` replaces the experiment's, unless it is "own"; `seeds` is the number of seeds, counted
    from 0; `spacing` stands for d_x and d_y alike (pixels); any other argument is a field of the
    configuration, with a value for all runs or a list to vary it over. None leaves what the
    experiment says. Raises UserError for what does not exist or fit.
    """
    found = find_experiment(name)
    fixed, varied = dict(found.set), dict(found.vary)
    if seeds is not None:
        if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= 1000:
            raise UserError(f"seeds is {seeds!r}, it must be a whole number from 1 to 1000.")
        _refuse_both("seeds", seeds, overrides, ["seed"])
        overrides["seed"] = list(range(seeds))
    if spacing is not None:
        _refuse_both("spacing", spacing, overrides, ["d_x", "d_y"])
        overrides["spacing"] = spacing
    # Either way of saying it replaces the other.
    stale = ["d_x", "d_y"] if spacing is not None else []
    stale += (
        ["spacing"] if {"d_x", "d_y"} & {k for k, v in overrides.items() if v is not None} else []
    )
    for field in stale:
        fixed.pop(field, None)
        varied.pop(field, None)
    for field, value in overrides.items():
        if value is None:
            continue
        fixed.pop(field, None)
        varied.pop(field, None)
        (varied if _varies(field, value) else fixed)[field] = value
    changed = {
        "set": fixed,
        "vary": varied,
        "profile": found.profile if profile in (None, "own") else profile,
    }
    return dict.fromkeys(found.model_copy(update=changed).configurations(), found.extras)


def unite(*plans: Mapping[Configuration, Sequence[str]]) -> dict[Configuration, tuple[str, ...]]:
    """Unite what `experiment` gives for several: each run once, with the extras of all of them."""
    united: dict[Configuration, tuple[str, ...]] = {}
    for plan in plans:
        for c, extras in plan.items():
            united[c] = tuple(dict.fromkeys((*united.get(c, ()), *extras)))
    return united


def _refuse_both(name: str, value: Any, overrides: dict[str, Any], fields: list[str]) -> None:
    for field in fields:
        if overrides.get(field) is not None:
            raise UserError(
                f"{name} is {value} and {field} is {overrides[field]}; only one is allowed."
            )


def _varies(field: str, value: Any) -> bool:
    """Whether a value is a list to vary the field over, and not itself one of a field of lists."""
    known = Configuration.model_fields.get(field)
    if known is not None and get_origin(known.annotation) is tuple:
        return isinstance(value, list) and all(isinstance(v, list) for v in value)
    return isinstance(value, list)


def find_experiment(name: str) -> Experiment:
    """An experiment by its name, or from a YAML file if the name ends in .yml or .yaml."""
    if not str(name).endswith((".yml", ".yaml")):
        return EXPERIMENTS[choose("an experiment", name, EXPERIMENTS)]
    try:
        content = yaml.safe_load(Path(name).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise UserError(f"{name} is not YAML.") from None
    except yaml.YAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if hasattr(error, "problem_mark") else ""
        raise UserError(f"{name} is not YAML{where}.") from None
    return _parse(name, content)
