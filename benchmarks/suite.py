"""The rows of the table, a function for each group of them."""

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import profile as profiling
from torch.utils.flop_counter import FlopCounterMode

from bump_diffusion.config import Configuration, configure
from bump_diffusion.data.bumps import bump_height, render_bumps
from bump_diffusion.metrics.outcomes import classify_images
from bump_diffusion.metrics.sampling import evaluation_labels
from bump_diffusion.training.device import one_thread, pick_device
from bump_diffusion.training.stacked import EAGER_STEPS, Stack, max_stack
from bump_diffusion.training.trainer import Trainer

from .measure import Crew, Job, Measured, command, flops, throughput
from .peers import CONTENDERS, SAMPLER_STEPS
from .recipes import ENOUGH, RECIPES, learn
from .sweep import RUNS

Row = dict[str, Any]

SHAPES = {"quick": 32, "paper": 16}
"""Images per training step, by profile. The paper profile's own 128 would take each contender a
quarter of a minute a step; below 16 denoising-diffusion-pytorch refuses."""

SAMPLED = {"quick": 64, "paper": 4}
"""Images sampled at once."""

REPETITIONS = {"quick": 4, "paper": 3}


def row(
    name: str,
    unit: str,
    ours: Measured,
    peers: dict[str, Measured] | None = None,
    least_ratio: float | None = None,
    most: float | None = None,
    **more: Any,
) -> Row:
    """A row of the table, as it is stored.

    `ratio` says how many times better ours is than the better peer: of seconds and of images needed
    the less is better, of anything else the more. The aim is a least ratio, or a most that ours may
    be.
    """
    ratio = better = met = None
    if peers:
        less = unit in ("s", "images")
        better = (min if less else max)(peers, key=lambda peer: peers[peer].median)
        quotient = ours.median / peers[better].median
        ratio = 1 / quotient if less else quotient
    if least_ratio is not None:
        met = ratio >= least_ratio
    if most is not None:
        met = ours.median <= most
    return {
        "name": name,
        "unit": unit,
        "ours": ours.summary(),
        "peers": {peer: measured.summary() for peer, measured in (peers or {}).items()},
        "better_peer": better,
        "ratio": ratio,
        "least_ratio": least_ratio,
        "most": most,
        "met": met,
        **more,
    }


def compare(name: str, unit: str, measured: dict[str, Measured], **more: Any) -> Row:
    """A row of ours against the others measured with it."""
    peers = {peer: m for peer, m in measured.items() if peer != "ours"}
    return row(name, unit, measured["ours"], peers, **more)


# Throughput


def shape(profile: str, precision: str = "float32", seed: int = 0) -> Configuration:
    """What the contenders train, in float32, the peers' default."""
    # More steps than any repetition takes; how many they are costs nothing.
    fields = {"batch_size": SHAPES[profile], "precision": precision, "seed": seed}
    return configure(profile, steps=100_000, **fields)


@cache
def networks() -> list[dict[str, Any]]:
    """Parameters and operations per image of every contender's network, by shape."""
    table = []
    for profile in SHAPES:
        c = shape(profile)
        for name, contender in CONTENDERS.items():
            made = contender(c)
            made.network.cpu()
            x, t = torch.zeros(1, 1, c.N, c.N), torch.zeros(1, dtype=torch.long)
            forward, both = flops(made.forward, x, t)
            table.append(
                {
                    "shape": profile,
                    "network": name,
                    "image": f"{c.N} × {c.N}",
                    "batch": c.batch_size,
                    "parameters": sum(p.numel() for p in made.network.parameters()),
                    "gflop_forward": forward / 1e9,
                    "gflop_training": both / 1e9,
                }
            )
    return table


def training_job(contender: str, profile: str, precision: str = "float32") -> Job:
    return CONTENDERS[contender](shape(profile, precision)).train


def sampling_job(contender: str, profile: str) -> Job:
    made = CONTENDERS[contender](shape(profile))
    return repeated(lambda: made.sample(SAMPLED[profile]))


def repeated(work: Callable[[], Any]) -> Job:
    def repeat(times: int) -> None:
        for _ in range(times):
            work()

    return repeat


MATRIX = 2048
PRODUCTS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GFLOP_PER_PRODUCT = 2 * MATRIX**3 / 1e9


def product_job(kind: str) -> Job:
    matrix = torch.randn(MATRIX, MATRIX, device=pick_device()).to(PRODUCTS[kind])
    return repeated(lambda: matrix @ matrix)


def training() -> list[Row]:
    """Training throughput of all contenders, and ours in bfloat16 beside float32."""
    rows = []
    for profile, images in SHAPES.items():
        rows += _throughput("training", training_job, profile, images, least_ratio=2.0)
        crews = {
            name: Crew(images, training_job, "ours", profile, precision)
            for name, precision in (("ours", "bfloat16"), ("ours in float32", "float32"))
        }
        title = f"training, {profile} shape, one thread, ours in bfloat16"
        rows.append(compare(title, "images/s", throughput(crews, REPETITIONS[profile])))
    return rows


def sampling() -> list[Row]:
    """Sampling throughput of all contenders."""
    rows = []
    for profile, images in SAMPLED.items():
        rows += _throughput("sampling", sampling_job, profile, images, least_ratio=3.0)
    return rows


def _throughput(what: str, job: Any, profile: str, images: int, **aim: float) -> list[Row]:
    """Images and operations a second of all contenders, with one thread each and with all cores.

    Ours uses the cores by a process on each, as a sweep does; a peer left alone by threads.
    """
    crews = {name: Crew(images, job, name, profile) for name in CONTENDERS}
    for kind in PRODUCTS:
        crews[kind] = Crew(GFLOP_PER_PRODUCT, product_job, kind)
    measured = throughput(crews, REPETITIONS[profile])
    products = {kind: measured.pop(kind) for kind in PRODUCTS}
    title = f"{what}, {profile} shape, one thread"
    rates = _operations_a_second(what, profile, measured)
    rows = [compare(title, "images/s", measured), compare(title, "GFLOP/s", rates, **aim)]
    for kind, product in products.items():
        share = rates["ours"].scaled(100 / product.median)
        name = f"{title}, of a {kind} matrix product's rate"
        rows.append(row(name, "%", share, product_gflops=product.summary()))
    cores = os.cpu_count() or 1
    if pick_device().type == "cpu" and cores > 1:
        crews = {"ours": Crew(images, job, "ours", profile, processes=cores)}
        crews |= {name: Crew(images, job, name, profile, threads=cores) for name in RECIPES}
        title = f"{what}, {profile} shape, {cores} cores"
        measured = throughput(crews, REPETITIONS[profile])
        rates = _operations_a_second(what, profile, measured)
        rows += [compare(title, "images/s", measured), compare(title, "GFLOP/s", rates, **aim)]
    return rows


def _operations_a_second(
    what: str, profile: str, images: dict[str, Measured]
) -> dict[str, Measured]:
    """GFLOP/s of each contender, from its images a second."""
    rates = {}
    for counted in networks():
        if counted["shape"] == profile:
            training, forward = counted["gflop_training"], counted["gflop_forward"]
            per_image = training if what == "training" else forward * SAMPLER_STEPS
            rates[counted["network"]] = images[counted["network"]].scaled(per_image)
    return rates


OPERATIONS = {
    "convolutions": ("convolution",),
    "attention": ("scaled_dot_product",),
    "other matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "group and layer norms": ("group_norm", "layer_norm"),
    "optimizer and average": ("adamw", "lerp"),
}
"""Kinds of operation, by parts of the names under which torch's profiler lists them."""

PROFILED_STEPS = {"quick": 20, "paper": 2}


def operations() -> list[Row]:
    """Where the time of a training step goes, by kind of operation, one thread.

    No rows on a GPU, for which the profiler lists operators and their kernels.
    """
    if pick_device().type != "cpu":
        return []
    rows = []
    for profile in SHAPES:
        trainer = Trainer(shape(profile), pick_device())
        with one_thread():
            trainer.train_step()
            with FlopCounterMode(display=False) as counter:
                trainer.train_step()
            with profiling() as profiled:
                for _ in range(PROFILED_STEPS[profile]):
                    trainer.train_step()
        time: Counter[str] = Counter()
        for event in profiled.key_averages():
            kinds = (k for k, parts in OPERATIONS.items() if any(p in event.key for p in parts))
            time[next(kinds, "all else")] += event.self_cpu_time_total
        flop = sum(n for f, n in counter.get_flop_counts()["Global"].items() if "conv" in str(f))
        rate = flop * PROFILED_STEPS[profile] / (time["convolutions"] * 1e-6) / 1e9
        title = f"a training step, {profile} shape, one thread"
        for kind in (*OPERATIONS, "all else"):
            share = Measured([100 * time[kind] / time.total()])
            rows.append(row(f"{title}: {kind}", "%", share))
        rows.append(row(f"{title}: rate of its convolutions", "GFLOP/s", Measured([rate])))
    return rows


# Evaluation

JUDGED = {"images": 1024, "N": 32, "sigma": 1.0, "noise": 0.05}


def scenes(images: int, N: int, sigma: float, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Heights (images, N, N) and requested positions (images, 2), pixels.

    A quarter each show no bump, one elsewhere, one at the request, and both; all with noise of this
    standard deviation, a bump's height being 1.
    """
    draws = torch.Generator().manual_seed(0)
    requested, elsewhere = (N * torch.rand(2, images, 2, generator=draws)).unbind()
    kind = (torch.arange(images) % 4)[:, None, None]
    there = bump_height(render_bumps(elsewhere, N, sigma)) * ((kind == 1) | (kind == 3))
    here = bump_height(render_bumps(requested, N, sigma)) * (kind >= 2)
    return here + there + noise * torch.randn(here.shape, generator=draws), requested


def sorting_job(contender: str) -> Job:
    heights, requested = scenes(**JUDGED)
    if contender == "ours":
        heights, requested = heights.to(pick_device()), requested.to(pick_device())
        return repeated(lambda: classify_images(heights, requested, JUDGED["sigma"]))
    from .loop import sort_images_by_loop  # a peer, not installed for the tests

    arrays = heights.double().numpy(), requested.numpy()
    return repeated(lambda: sort_images_by_loop(*arrays, JUDGED["sigma"]))


def sorting() -> list[Row]:
    """Images whose bumps are found and judged a second, against a loop over images."""
    from .loop import sort_images_by_loop  # a peer, not installed for the tests

    heights, requested = scenes(**JUDGED)
    ours = classify_images(heights, requested, JUDGED["sigma"]).kind.numpy()
    loops = sort_images_by_loop(heights.double().numpy(), requested.numpy(), JUDGED["sigma"])
    crews = {n: Crew(JUDGED["images"], sorting_job, n) for n in ("ours", "scikit-image loop")}
    agreement = float(np.mean(ours == loops))
    title = f"{JUDGED['images']:,} images sorted by their bumps, one thread"
    measured = throughput(crews)
    return [compare(title, "images/s", measured, least_ratio=20.0, agreement=agreement)]


def checkpoint() -> list[Row]:
    """A checkpoint's evaluation and its parts; all of a run's, as a share of its training."""
    measured, output = command([sys.executable, "-m", "benchmarks.checkpoint"])
    seconds = {name: Measured(values) for name, values in json.loads(output).items()}
    first, whole, step = (seconds.pop(name) for name in ("first", "whole", "step"))
    whole.peak_mib = measured.peak_mib
    c = configure("quick")
    evaluations = len(c.evaluation_steps)
    total = first.median + (evaluations - 1) * whole.median
    training = step.scaled(c.steps)
    (quick,) = (n for n in networks() if (n["shape"], n["network"]) == ("quick", "ours"))
    sampled = evaluations * len(evaluation_labels(c)) * c.sampler_steps * quick["gflop_forward"]
    trained = c.steps * c.batch_size * quick["gflop_training"]
    title = "evaluation of a checkpoint"
    return [
        row(f"{title}, the first of a process", "s", first),
        row(title, "s", whole),
        *(row(f"{title}: {part}", "s", spent) for part, spent in seconds.items()),
        row("training of a quick run alone", "s", training),
        row(
            "all evaluations of a quick run, of its training",
            "%",
            Measured([100 * total / training.median]),
            most=10.0,
            evaluations=evaluations,
            sampling_operations=100 * sampled / trained,
        ),
    ]


# Runs


def learning() -> list[Row]:
    """Images and seconds to 90 % correct bumps, the same network by each contender's recipe."""
    names = ["ours", *RECIPES]
    c = configure("quick")
    with ProcessPoolExecutor(len(names), get_context("spawn")) as pool:
        done = list(pool.map(learn, names, [c] * len(names)))
    curves = {name: curve for name, (curve, _) in zip(names, done, strict=True)}
    reached = {name: curve["accuracy"][-1] >= ENOUGH for name, curve in curves.items()}
    rows = []
    for unit, quantity in (("images", "images"), ("s", "seconds")):
        last = {
            name: Measured([curve[quantity][-1]], peak)
            for name, (curve, peak) in zip(names, done, strict=True)
        }
        title = f"to {ENOUGH:.0%} correct bumps, quick shape, one thread"
        rows.append(compare(title, unit, last, reached=reached, curves=curves))
    return rows


def sweep() -> list[Row]:
    """Seconds of a sweep by one worker process and by two, the workers' start included."""
    seconds = {}
    for workers in (1, 2):
        whole, output = command([sys.executable, "-m", "benchmarks.sweep", str(workers)])
        seconds[workers] = Measured([float(output)], whole.peak_mib)
    title = f"a sweep of {RUNS} short runs by 2 worker processes"
    return [row(title, "s", seconds[2], {"1 worker process": seconds[1]}, least_ratio=1.8)]


def stacked_job(runs: int) -> Job:
    stack = Stack([Trainer(shape("quick", seed=s), pick_device()) for s in range(runs)])
    job = repeated(stack.train_step)
    job(EAGER_STEPS + 1)
    return job


def many_runs() -> list[Row]:
    """Whole runs, and the training of many small ones in one step.

    No rows on the CPU, where a stack of runs is no faster than one after the other.
    """
    if pick_device().type == "cpu":
        return []
    runs = max_stack(configure("quick"))
    whole, output = command([sys.executable, "-m", "benchmarks.many", "quick", str(runs), "paper"])
    seconds = {name: Measured([s], whole.peak_mib) for name, s in json.loads(output).items()}
    crews = {"ours": Crew(runs * SHAPES["quick"], stacked_job, runs)}
    crews |= {name: Crew(SHAPES["quick"], training_job, name, "quick") for name in RECIPES}
    return [
        row("a quick run with its evaluations", "s", seconds["one"], most=10.0),
        row(
            f"{runs} quick runs with their evaluations, at 200 in 8 minutes or faster",
            "s",
            seconds["many"],
            most=8 * 60 * runs / 200,
        ),
        row("a paper run, from 100 steps and an evaluation", "s", seconds["long"], most=480.0),
        compare(
            f"training {runs} quick shapes at once",
            "images/s",
            throughput(crews, REPETITIONS["quick"]),
            least_ratio=5.0,
        ),
    ]


def book() -> list[Row]:
    """Seconds of building the book from nothing, and again with nothing changed."""
    build = [str(Path(sys.executable).with_name("bump-diffusion")), "book"]
    with tempfile.TemporaryDirectory() as folder:
        cold, _ = command(build, BUMP_DIFFUSION_BUILD=folder)
        warm, _ = command(build, BUMP_DIFFUSION_BUILD=folder)
    return [
        row("the book, built from its records", "s", cold),
        row("the book, built again unchanged", "s", warm),
    ]


GROUPS = {
    function.__name__: function
    for function in (
        training,
        operations,
        sampling,
        sorting,
        checkpoint,
        learning,
        sweep,
        many_runs,
        book,
    )
}
