"""What a run is made from: a frozen, validated configuration, and the profiles it starts from."""

import hashlib
import itertools
import json
import math
from collections.abc import Iterable
from importlib.resources import files
from typing import Annotated, Any, Literal, get_args

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bump_diffusion.errors import UserError, choose

FORMAT = 3
"""The version of a record's layout, to be raised when a record's files or their meaning change."""

READABLE_FORMATS = (2, 3)
"""Records of other versions are refused by name."""

EVALUATED_IN_FORMAT_2 = {"evaluations": 12, "evaluation_images": 256}
"""The fields, with their defaults then, in which a record of format 2 may differ from what is asked
for: it holds the same training, evaluated otherwise."""

DROPPED_AFTER_FORMAT_2 = ("probe_timestep", "probe_input")
"""Fields that every record of format 2 has, at their defaults then: 0 and "sample"."""

PROFILES: dict[str, dict[str, Any]] = yaml.safe_load(
    files(__package__).joinpath("profiles.yml").read_text("utf-8")
)

MAX_LABELS = 2_000_000
"""Most labels of a data set: every one is held in memory."""

TABLES = ("table", "low-rank-1", "low-rank-2", "low-rank-4")
"""Ways in which the label is looked up by the values of the grid."""

MIN_SIGNAL = 1e-12
"""Least share of the signal's variance at the last timestep: a sampler divides by it."""

UNUSED = {
    ("axes", "x"): ("d_y", "held_out", "rendering", "injection", "stripes"),
    ("conditioning", "scalar"): ("label_scale",),
    **{("conditioning", scheme): ("label_scale",) for scheme in TABLES},
    **{("injection", way): ("conditioning", "label_scale") for way in ("none", "axes")},
}
"""Fields without effect, or without meaning, where another has some value: there they keep their
default, so that a run has one name."""

HELD_OUT = r"^(none|quadrants|donut|corner|band|latin-[1-9]\d{0,8})$"
"""The names of `data.splits`."""

Layer = Literal["layer1", "layer2", "layer3", "layer4", "bottleneck", "up3", "up2", "up1"]
LAYERS = get_args(Layer)
"""The network's layers in the order in which they run."""

BLOCKS = ("layer2", "layer3", "layer4", "up3", "up2", "up1")
"""The layers into which the label is injected, in the order in which they run."""

BOTTLENECKS = {f"bottleneck-{size}": size for size in (1, 2, 4, 8)}
"""By the name of an injection: the numbers through which it squeezes the label's vector."""

Rendering = Literal["none", "lines", "profiles", "permuted", "learned", "coordinates"]
Injection = Literal[
    *("global", "none", "axes", "dropout", "axis-dropout", "annealed", *BOTTLENECKS, *BLOCKS)
]


class Configuration(BaseModel):
    """Everything that determines a run's result, up to the machine's arithmetic."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    # Data (arXiv 2402.03305, section 2)
    N: Annotated[int, Field(ge=8, le=128, multiple_of=8)] = 16
    "Width and height of an image, pixels."
    d_x: Annotated[float, Field(ge=0.01, le=64)] = 1.0
    "Increment between neighbouring labels along x, pixels."
    d_y: Annotated[float, Field(ge=0.01, le=64)] = 1.0
    "Increment between neighbouring labels along y, pixels."
    sigma: Annotated[float, Field(ge=0.25, le=16)] = 1.0
    "Standard deviation of a bump, pixels."
    polarity: Literal["dark", "light"] = "dark"
    "Dark bumps on a light ground, or light on dark."
    axes: Literal["xy", "x"] = "xy"
    "The task (`data.tasks`): bumps in images, or their x alone, in lines one pixel high."
    held_out: Annotated[str, Field(pattern=HELD_OUT)] = "none"
    "Which labels of the grid are not trained: a region, or with latin-K all but K combinations."
    split: Annotated[int, Field(ge=0, lt=2**32)] = 0
    "Which Latin subset is trained: its seed."
    stripes: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    "Share of the training images that are stripes, with one coordinate and no other."

    # Model
    width: Annotated[int, Field(ge=8, le=256, multiple_of=8)] = 16
    "Channels of the first layer; the bottleneck has eight times as many."
    precision: Literal["float32", "bfloat16"] = "float32"
    "Of the network's arithmetic: bfloat16 is mixed, faster where the network is wide."
    conditioning: Literal["sinusoidal", "scalar", *TABLES] = "sinusoidal"
    "How the label becomes a vector, that of both coordinates (`models.conditioning`)."
    label_scale: Annotated[float, Field(gt=0, le=100)] = 1.0
    "What the label in pixels is multiplied by before its sinusoidal encoding."
    rendering: Rendering = "none"
    "As what the label is drawn beside the image, in channels of their own (`models.biases`)."
    injection: Injection = "global"
    """How the label enters the blocks: as a vector, by axis, in one block alone, or not; or as a
    vector that training squeezes, drops or fades out (`models.biases`)."""

    # Diffusion
    timesteps: Annotated[int, Field(ge=10, le=10_000)] = 1000
    "Noising steps T."
    beta_start: Annotated[float, Field(ge=1e-6, lt=1)] = 1e-4
    "Variance added by the first noising step."
    beta_end: Annotated[float, Field(gt=0, lt=1)] = 0.02
    "Variance added by the last noising step."

    # Training
    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 4000
    "Optimizer steps."
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    "Images per step."
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    "AdamW's learning rate."
    warmup: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    "Steps over which the learning rate rises to that, linearly from 0; afterwards it is constant."
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    "Decay of the exponential moving average of the weights, which is what is evaluated."
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    "Determines the initial weights, unless `init_seed` does, and every random draw."
    init_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    "Determines the initial weights in place of the seed: of both, one can change alone."

    # Evaluation
    evaluations: Annotated[int, Field(ge=1, le=1000)] = 7
    "Checkpoints evaluated after the untrained network, at log-spaced steps; more where it learns."
    evaluation_images: Annotated[int, Field(ge=20, le=8192)] = 64
    "Images sampled per evaluation, at most: of every training label, or a random choice of them."
    sampler: Literal["ancestral", "ddim"] = "ancestral"
    "Stochastic ancestral sampling, or deterministic DDIM."
    sampler_steps: Annotated[int, Field(ge=1, le=10_000)] = 25
    "Denoising steps of the sampler."
    clip_sample: bool = False
    "Whether the sampler keeps its estimate of the finished image within the data's range."
    compared_steps: Annotated[
        tuple[Annotated[int, Field(ge=1, le=10_000)], ...], Field(strict=False)
    ] = ()
    "Sampler steps under which both samplers are compared at every trained checkpoint."
    probe_layer: Layer = "layer4"
    "The layer that is probed in any case, and whose dimensions and UMAP embedding are taken."

    @model_validator(mode="before")
    @classmethod
    def _drop_equal_seed(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Drop an `init_seed` that is the seed, so that a run has one name."""
        same = fields.get("init_seed") == fields.get("seed", cls.model_fields["seed"].default)
        return {**fields, "init_seed": None} if same else fields

    @model_validator(mode="after")
    def _check_together(self) -> "Configuration":
        for name, limit, meaning in (
            ("d_x", self.N, "N"),
            ("d_y", self.N, "N"),
            ("sigma", self.N / 2, "N / 2"),
            ("sampler_steps", self.timesteps, "timesteps"),
            ("compared_steps", self.timesteps, "timesteps"),
            ("beta_start", self.beta_end, "beta_end"),
        ):
            value = getattr(self, name)
            if np.max(value, initial=0) > limit:
                raise ValueError(
                    f"{name} is {value}, it must be at most {meaning} (here {limit:g})"
                )
        for (name, value), fields in UNUSED.items():
            for unused in fields if getattr(self, name) == value else ():
                self._require(unused, type(self).model_fields[unused].default, name)
        if self.injection in ("none", "annealed") and self.rendering in ("none", "coordinates"):
            raise ValueError(
                f"rendering is {self.rendering!r}, it must draw the label where injection is "
                f"{self.injection!r}: no label would enter the network"
            )
        if self.injection == "axis-dropout":
            self._require("conditioning", "sinusoidal", "injection")
        if self.stripes:  # a label of no value of the grid
            for name, by_value in (
                ("conditioning", self.conditioning in TABLES),
                ("rendering", self.rendering == "learned"),
                ("injection", self.injection == "axes"),
            ):
                if by_value:
                    self._require("stripes", 0.0, name)
        labels = np.ceil(self.N / self.d_x) * np.ceil(self.N / self.d_y)
        if labels > MAX_LABELS:
            raise ValueError(
                f"d_x is {self.d_x} and d_y is {self.d_y}, they must give at most {MAX_LABELS:,} "
                f"labels (here {labels:,.0f})"
            )
        if self.held_out != "none":
            values = {math.ceil(self.N / d - 1e-9) for d in (self.d_x, self.d_y)}
            n, K = max(values), self.held_out.removeprefix("latin-")
            if K.isdigit() and (len(values) > 1 or int(K) % n or not n <= int(K) < n * n):
                raise ValueError(
                    f"held_out is {self.held_out!r}, it must name a multiple of the {n} values of "
                    f"an axis below {n * n}, and d_x and d_y must be equal"
                )
        betas = np.linspace(self.beta_start, self.beta_end, self.timesteps)
        if np.log1p(-betas).sum() < np.log(MIN_SIGNAL):
            raise ValueError(
                f"beta_end is {self.beta_end}, it must be so low that after {self.timesteps} "
                f"timesteps a share of {MIN_SIGNAL:g} of the signal is left"
            )
        return self

    def _require(self, field: str, value: Any, other: str) -> None:
        """Raise ValueError if a field has another value than it must have beside another field."""
        if (given := getattr(self, field)) != value:
            raise ValueError(
                f"{field} is {given!r}, it must be {value!r} where {other} is "
                f"{getattr(self, other)!r}"
            )

    @property
    def weights_seed(self) -> int:
        """The seed that the initial weights are drawn from."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def id(self) -> str:
        """The run's name: the first 12 hex digits of the SHA-256 of what differs from the defaults,
        so that a field can be added without renaming the runs made before it.
        """
        return _digest({"format": FORMAT, **self.model_dump(exclude_defaults=True)})

    @property
    def earlier_ids(self) -> list[str]:
        """The names that a record of format 2 of the same training may have.

        It may have been evaluated at other checkpoints and with other numbers of images.
        """
        changed = self.model_dump(exclude_defaults=True)
        rest = {f: v for f, v in changed.items() if f not in EVALUATED_IN_FORMAT_2}
        ids = []
        for values in itertools.product(
            *({getattr(self, f), usual} for f, usual in EVALUATED_IN_FORMAT_2.items())
        ):
            evaluated = dict(zip(EVALUATED_IN_FORMAT_2, values, strict=True))
            differs = {f: v for f, v in evaluated.items() if v != EVALUATED_IN_FORMAT_2[f]}
            ids.append(_digest({"format": 2, **rest, **differs}))
        return ids

    @property
    def evaluation_steps(self) -> list[int]:
        """Step 0 (untrained), then `evaluations` steps spaced evenly in log, the last at `steps`.

        The first is at a twentieth of the training. Steps that round to the same count once.
        """
        first = max(1, self.steps // 20)
        spaced = np.geomspace(first, self.steps, self.evaluations) if self.evaluations > 1 else []
        return sorted({0, *(round(s) for s in spaced), self.steps})


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def configure(profile: str, /, **overrides: Any) -> Configuration:
    """The configuration of a profile with some of its fields replaced.

    Raises UserError for a profile or field that does not exist and a value that a field refuses.
    """
    choose("a profile", profile, PROFILES)
    for name in overrides:
        choose("a field of a configuration", name, Configuration.model_fields)
    try:
        return Configuration(**{**PROFILES[profile], **overrides})
    except ValidationError as error:
        raise UserError(one_sentence(error)) from None


def profile_of(c: Configuration) -> str:
    """The profile of whose fields the configuration shares the largest part."""

    def shared(profile: str) -> float:
        return float(np.mean([getattr(c, f) == value for f, value in PROFILES[profile].items()]))

    return max(PROFILES, key=shared)


def profile_table() -> pd.DataFrame:
    """The fields in which the profiles differ, a column a profile, with the images seen in all."""
    profiles = {profile: configure(profile) for profile in PROFILES}
    fields = distinguishing(profiles.values())
    rows = {f: {p: write_value(getattr(c, f)) for p, c in profiles.items()} for f in fields}
    rows["images seen"] = {p: f"{c.steps * c.batch_size:,}" for p, c in profiles.items()}
    return pd.DataFrame(rows).T.rename_axis("field").reset_index()


def write_value(value: object) -> str:
    """Write a field's value for a table; of several, one after another."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def distinguishing(configurations: Iterable[Configuration]) -> list[str]:
    """The fields in which the configurations differ; all fields, if there are fewer than two."""
    runs = set(configurations)
    return [
        field
        for field in Configuration.model_fields
        if len(runs) < 2 or len({getattr(c, field) for c in runs}) > 1
    ]


def one_sentence(error: ValidationError) -> str:
    """The first complaint of a pydantic error, naming the field, the value and what is allowed."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not first["loc"]:
        return f"{message}."
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{field!r} is not a name that is allowed here."
    return f"{field} is {first['input']!r}, it {message}."
