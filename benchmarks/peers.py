"""The contenders: this package, and what a user would otherwise pick, each in its documented way.

Each contender is a class of three methods: `train` (optimizer steps, with all that its own loop
does around them), `sample` (images from noise) and `forward` (the network alone, for counting). The
peers' networks are as near to ours as their constructors allow: four resolutions, attention at each
of ours, heads of 16 channels, and channels that bring their parameters nearest to ours.
"""

import itertools
import sys
import tempfile
import types
from unittest import mock

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from torch.utils.data import DataLoader, Dataset, TensorDataset

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import label_grid, render_bumps
from bump_diffusion.metrics.sampling import evaluation_labels, generate
from bump_diffusion.training.device import pick_device
from bump_diffusion.training.trainer import Trainer

from .recipes import DiffusersRecipe

SAMPLER_STEPS = 10
"""Deterministic DDIM steps of every contender's sampler here; a step costs the same in any."""


class Ours:
    """This package: images rendered and noised on the device, no loader."""

    def __init__(self, c: Configuration):
        self.c = c
        self.trainer = Trainer(c, pick_device())
        self.network = self.trainer.model

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.trainer.train_step()

    def sample(self, images: int) -> None:
        labels = evaluation_labels(self.c)[:images].to(self.trainer.device)
        sampled = self.c.model_copy(update={"sampler": "ddim", "sampler_steps": SAMPLER_STEPS})
        generate(sampled, self.network, labels, ("benchmark",))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        labels = torch.zeros(len(x), 2, device=x.device)
        x = x.contiguous(memory_format=torch.channels_last)
        return self.network(x, t, self.network.conditioning(labels))


class Diffusers:
    """diffusers: its `UNet2DModel` and the loop of its unconditional training example.

    The label enters as `class_labels`, one class for each label of the grid: the conditioning that
    `UNet2DModel` documents, and the cheapest (one embedding, added to the timestep's). The example
    wraps the loop in accelerate, which on one process only adds to its time; it is left out.
    """

    def __init__(self, c: Configuration):
        self.c, self.device = c, pick_device()
        labels = label_grid(c.N, c.d_x, c.d_y)
        images = render_bumps(labels, c.N, c.sigma, c.polarity)
        data = TensorDataset(images, torch.arange(len(images)))
        self.batches = _repeated(DataLoader(data, batch_size=c.batch_size, shuffle=True))
        w = c.width
        self.network = UNet2DModel(
            sample_size=c.N,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(w, 2 * w, 4 * w, 5 * w),
            down_block_types=("DownBlock2D", *["AttnDownBlock2D"] * 3),
            up_block_types=("AttnUpBlock2D",) * 4,
            norm_num_groups=8,
            attention_head_dim=16,
            num_class_embeds=len(images),
        ).to(self.device)
        self.scheduler = DDPMScheduler(c.timesteps, c.beta_start, c.beta_end)
        self.recipe = DiffusersRecipe(self.network, c.steps)

    def train(self, steps: int) -> None:
        for images, labels in itertools.islice(self.batches, steps):
            images, labels = images.to(self.device), labels.to(self.device)
            noise = torch.randn_like(images)
            t = torch.randint(self.c.timesteps, (len(images),), device=self.device)
            noisy = self.scheduler.add_noise(images, noise, t)
            predicted = self.network(noisy, t, class_labels=labels, return_dict=False)[0]
            self.recipe.step(F.mse_loss(predicted, noise))

    @torch.no_grad()
    def sample(self, images: int) -> None:
        scheduler = DDIMScheduler(self.c.timesteps, self.c.beta_start, self.c.beta_end)
        scheduler.set_timesteps(SAMPLER_STEPS)
        x = torch.randn(images, 1, self.c.N, self.c.N, device=self.device)
        labels = torch.arange(images, device=self.device)
        for t in scheduler.timesteps:
            noise = self.network(x, t, class_labels=labels).sample
            x = scheduler.step(noise, t, x).prev_sample

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        labels = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.network(x, t, class_labels=labels).sample


class DenoisingDiffusionPytorch:
    """lucidrains' denoising-diffusion-pytorch: its `Unet`, `GaussianDiffusion` and `Trainer`.

    Unconditional, which is all that its `Trainer` trains, and cheaper than any conditioning.
    Attention at full resolution is the linear one that is its default there, the rest full, with
    `flash_attn`: the faster of what it offers. Its `Trainer` reads image files by torchvision,
    which has no build beside this torch; the two names that it imports from there are stubbed, and
    its data set is replaced by rendered images in memory, read without processes for loading, which
    is faster than either.
    """

    def __init__(self, c: Configuration):
        library = _import_denoising_diffusion_pytorch()
        self.c = c
        labels = label_grid(c.N, c.d_x, c.d_y)
        images = (render_bumps(labels, c.N, c.sigma, c.polarity) + 1) / 2
        self.network = library.Unet(
            c.width,
            dim_mults=(1, 2, 4, 5),
            channels=1,
            full_attn=(False, True, True, True),
            attn_heads=tuple(max(1, k * c.width // 16) for k in (1, 1, 2, 4)),
            attn_dim_head=16,
            flash_attn=True,
        )
        self.diffusion = library.GaussianDiffusion(
            self.network,
            image_size=c.N,
            timesteps=c.timesteps,
            sampling_timesteps=SAMPLER_STEPS,
            objective="pred_noise",
            beta_schedule="linear",
        )
        with (
            mock.patch.object(library, "Dataset", lambda *_, **__: _Images(images)),
            mock.patch.object(library, "cpu_count", lambda: 0),
        ):
            self.trainer = library.Trainer(
                self.diffusion,
                folder=None,
                train_batch_size=c.batch_size,
                train_num_steps=0,
                save_and_sample_every=sys.maxsize,
                calculate_fid=False,
                results_folder=tempfile.gettempdir(),  # must exist; nothing is saved
            )

    def train(self, steps: int) -> None:
        self.trainer.train_num_steps += steps
        self.trainer.train()

    def sample(self, images: int) -> None:
        self.diffusion.ddim_sample((images, 1, self.c.N, self.c.N))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.network(x, t)


class _Images(Dataset):
    def __init__(self, images: torch.Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.images[i]


def _import_denoising_diffusion_pytorch() -> types.ModuleType:
    stub = types.ModuleType("torchvision")
    stub.transforms, stub.utils = types.ModuleType("transforms"), types.ModuleType("utils")
    sys.modules["torchvision"] = stub
    try:
        from denoising_diffusion_pytorch import denoising_diffusion_pytorch as library
    finally:
        del sys.modules["torchvision"]  # diffusers, which asks for it, must not find it
    return library


def _repeated(batches: DataLoader):
    """Batches epoch after epoch, each in its own order."""
    return itertools.chain.from_iterable(itertools.repeat(batches))


CONTENDERS = {
    "ours": Ours,
    "diffusers": Diffusers,
    "denoising-diffusion-pytorch": DenoisingDiffusionPytorch,
}
