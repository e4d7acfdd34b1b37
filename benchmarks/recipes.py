"""How each contender trains when it is left its defaults: optimizer, warm-up, averaged weights.

Here all three train the same network, ours, on the same bumps with the same noise schedule, so that
what differs is the recipe alone. Decision are the averaged weights, as each contender samples from
them.
"""

import time
from collections.abc import Callable
from itertools import count

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import nn

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import bump_height, label_grid, render_bumps
from bump_diffusion.metrics.outcomes import classify_images
from bump_diffusion.metrics.sampling import evaluation_labels, generate
from bump_diffusion.models.unet import build_model
from bump_diffusion.training.device import one_thread, pick_device
from bump_diffusion.training.trainer import Trainer

from .measure import peak_mib

BATCH = 16
"""Both peers' default batch size."""

MOST_IMAGES = 64_000
"""Where a recipe that has not reached `ENOUGH` is stopped."""

EVERY = 8_000
"""Images between two evaluations."""

ENOUGH = 0.9


class DiffusersRecipe:
    """The defaults of diffusers' unconditional training example."""

    def __init__(self, network: nn.Module, steps: int):
        self.network = network
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
        )
        self.warmup = get_cosine_schedule_with_warmup(self.optimizer, 500, steps)
        self.average = EMAModel(
            network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75
        )

    def step(self, loss: torch.Tensor) -> None:
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.warmup.step()
        self.optimizer.zero_grad()
        self.average.step(self.network.parameters())

    def averaged(self, copy: nn.Module) -> nn.Module:
        self.average.copy_to(copy.parameters())
        return copy


class DenoisingDiffusionPytorchRecipe:
    """The defaults of denoising-diffusion-pytorch's `Trainer`."""

    def __init__(self, network: nn.Module, steps: int):
        from ema_pytorch import EMA  # a peer, not installed for the tests

        self.network = network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.9, 0.99))
        self.average = EMA(network, beta=0.995, update_every=10)

    def step(self, loss: torch.Tensor) -> None:
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update()

    def averaged(self, copy: nn.Module) -> nn.Module:
        copy.load_state_dict(self.average.ema_model.state_dict())
        return copy


RECIPES = {
    "diffusers": DiffusersRecipe,
    "denoising-diffusion-pytorch": DenoisingDiffusionPytorchRecipe,
}


def learn(name: str, c: Configuration) -> tuple[dict[str, list[float]], float | None]:
    """Train by a recipe ("ours" or a peer's) until `ENOUGH` images are correct or too many seen.

    Returns for each evaluation the `images` seen, the `seconds` of training up to there, and the
    `accuracy`; and the process's peak memory, MiB. One thread, and so the seconds are the
    processor's: of several recipes side by side none waits on another's account.
    """
    with one_thread():
        train, averaged = _ours(c) if name == "ours" else _peers(name, c)
        curve = {"images": [], "seconds": [], "accuracy": []}
        seconds = 0.0
        for images in count(EVERY, EVERY):
            start = time.process_time()
            train(EVERY)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds += time.process_time() - start
            curve["images"].append(images)
            curve["seconds"].append(seconds)
            curve["accuracy"].append(accuracy(c, averaged()))
            if curve["accuracy"][-1] >= ENOUGH or images >= MOST_IMAGES:
                return curve, peak_mib()


def accuracy(c: Configuration, network: nn.Module) -> float:
    """The share of all training labels whose generated image is one bump at the right place."""
    labels = evaluation_labels(c).to(pick_device())
    images, _, _ = generate(c, network, labels, ("benchmark",))
    return classify_images(bump_height(images, c.polarity), labels, c.sigma).metrics()["accuracy"]


Pair = tuple[Callable[[int], None], Callable[[], nn.Module]]
"""What trains on so many images more, and what gives the averaged network."""


def _ours(c: Configuration) -> Pair:
    trainer = Trainer(c, pick_device())

    def train(images: int) -> None:
        for _ in range(images // c.batch_size):
            trainer.train_step()

    return train, lambda: trainer.average.module


def _peers(name: str, c: Configuration) -> Pair:
    device = pick_device()
    torch.manual_seed(c.seed)
    network, copy = build_model(c, device), build_model(c, device)
    recipe = RECIPES[name](network, MOST_IMAGES // BATCH)
    scheduler = DDPMScheduler(c.timesteps, c.beta_start, c.beta_end)
    grid = label_grid(c.N, c.d_x, c.d_y).to(device)

    def train(images: int) -> None:
        for _ in range(images // BATCH):
            labels = grid[torch.randint(len(grid), (BATCH,), device=device)]
            x = render_bumps(labels, c.N, c.sigma, c.polarity)
            noise = torch.randn_like(x)
            t = torch.randint(c.timesteps, (BATCH,), device=device)
            noisy = scheduler.add_noise(x, noise, t).contiguous(memory_format=torch.channels_last)
            recipe.step(F.mse_loss(network(noisy, t, network.conditioning(labels)), noise))

    return train, lambda: recipe.averaged(copy)
