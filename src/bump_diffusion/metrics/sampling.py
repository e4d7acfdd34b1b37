"""Images are requested of a network, sampled, and searched for bumps."""

from functools import partial

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor, nn

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Images, Labels
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.outcomes import Classification, classify_images
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import sample

SHOWN = 32
"""Sample images kept of each evaluation."""

BATCH = 256
"""Images in one pass through the network."""

FINAL_IMAGES = 256
"""Different trained labels that are requested at the last checkpoint, at most."""

OTHER_IMAGES = 64
"""Images of held-out labels, and of labels off the grid, that are sampled at a time, at most."""


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def evaluation_labels(c: Configuration, most: int | None = None) -> Labels:
    """The trained labels that are requested, `most` (by default `evaluation_images`) at most.

    In random order: all of them, as often as there is room for all, or as many as there is room
    for. Fewer are the first of more.
    """
    most = c.evaluation_images if most is None else most
    labels = task_of(c).labels()
    labels = labels[_shuffle(c, "evaluation", len(labels))]
    return labels.repeat(max(1, most // len(labels)), 1)[:most]


def requested_labels(c: Configuration, final: bool) -> dict[str, Labels]:
    """By the name of a set, the labels that are requested at a checkpoint.

    "trained" are `evaluation_labels`, at the `final` checkpoint up to `FINAL_IMAGES` different ones
    where there is a plane of labels. "held-out" are combinations that are not trained, if there are
    any. "off-grid", at the final checkpoint, lie midway between labels of the grid. Of the latter
    two a random choice of at most `OTHER_IMAGES`.
    """
    task = task_of(c)
    many = max(min(FINAL_IMAGES, len(task.labels())), c.evaluation_images)
    others = {"held-out": task.held_out_labels()}
    if final:
        others["off-grid"] = task.labels_off_grid()
    chosen = {
        name: labels[_shuffle(c, name, len(labels))[:OTHER_IMAGES]]
        for name, labels in others.items()
        if len(labels)
    }
    return {"trained": evaluation_labels(c, many if final and task.has_plane else None), **chosen}


def _shuffle(c: Configuration, name: str, count: int) -> Int[Tensor, " n"]:
    return torch.randperm(count, generator=generator("cpu", c.seed, f"{name} labels"))


@torch.inference_mode()
def generate(
    c: Configuration, model: nn.Module, labels: Labels, key: tuple[int | str, ...], keep_at: int = 0
) -> tuple[Images, Images, int]:
    """Sample an image per label, by draws of the configuration's seed and `key`.

    Returns the images, and what the network saw at the sampler's timestep nearest to `keep_at`,
    with that timestep (see `sample`).
    """
    draws = generator(labels.device, c.seed, "sample", *key)
    draw = partial(torch.randn, generator=draws, device=labels.device)
    images, seen = [], []
    for batch in labels.split(BATCH):
        denoise = partial(model, label_embedding=model.conditioning(batch))
        noise = draw((len(batch), 1, task_of(c).height, c.N))
        finished, probed, t = sample(c, denoise, noise, draw, keep_at)
        images.append(finished)
        seen.append(probed)
    return torch.cat(images), torch.cat(seen), t


def search(
    c: Configuration, images: Images, labels: Labels
) -> tuple[pd.DataFrame, pd.DataFrame, Classification]:
    """What is kept of generated images, so that they can be classified at any tolerance later.

    Returns a row per image (mu_x and mu_y, where a bump is requested, and `speckled`), a row per
    bump (image, its row in the first; x, y; amplitude, 1 for a training bump), and the
    classification at the paper's tolerance; pixels.
    """
    heights, requested = task_of(c).to_classify(images, labels)
    outcomes = classify_images(heights, requested, c.sigma)
    bumps = outcomes.bumps
    of_images = pd.DataFrame(requested.cpu().numpy(), columns=["mu_x", "mu_y"])
    of_images["speckled"] = outcomes.speckled.cpu().numpy()
    of_bumps = pd.DataFrame(bumps.position.cpu().numpy(), columns=["x", "y"])
    of_bumps.insert(0, "image", bumps.image.cpu().numpy())
    return of_images, of_bumps.assign(amplitude=bumps.amplitude.cpu().numpy()), outcomes


def classify(c: Configuration, images: Images, labels: Labels) -> Classification:
    """Classify generated images of a configuration's task by their bumps."""
    heights, requested = task_of(c).to_classify(images, labels)
    return classify_images(heights, requested, c.sigma)


def choose_shown(images: int) -> Int[Tensor, " shown"]:
    """Indices of the images that are kept for showing, chosen before anything is generated."""
    chosen = torch.randperm(images, generator=generator("cpu", "shown"))[:SHOWN]
    return chosen.sort().values


def compare_samplers(c: Configuration, model: nn.Module) -> pd.DataFrame:
    """The generation metrics of one network under both samplers, each with `compared_steps` steps.

    The sampler is part of the measurement: a deterministic one leaves specks that count as faults
    of the network if nothing sets them apart.
    """
    labels = evaluation_labels(c).to(device_of(model))
    rows = []
    for sampler in ("ddim", "ancestral"):
        for steps in c.compared_steps:
            how = {"sampler": sampler, "sampler_steps": steps}
            images, _, _ = generate(c.model_copy(update=how), model, labels, (sampler, steps))
            rows.append({**how, **classify(c, images, labels).metrics()})
    return pd.DataFrame(rows)
