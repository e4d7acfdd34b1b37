"""The diffusion: noise schedule, training loss, and two samplers.

Timesteps count from 0 to T - 1, as in most code; the papers count from 1 to T. `alpha_bar` of the
time before the first noising step is 1: there the image is clean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Images

Denoiser = Callable[[Images, Int[Tensor, " n"]], Images]
"""Predicts the noise in images at timesteps."""

Share = Float[Tensor, ""]
"""A share of variance that is still signal: alpha_bar at one timestep."""


@dataclass(frozen=True)
class NoiseSchedule:
    """The linear schedule of DDPM (arXiv 2006.11239, section 4)."""

    timesteps: int
    beta_start: float
    beta_end: float

    @classmethod
    def of(cls, c: Configuration) -> "NoiseSchedule":
        return cls(c.timesteps, c.beta_start, c.beta_end)

    def alpha_bar(self, device: torch.device | str = "cpu") -> Float[Tensor, " T"]:
        """The share of variance that is still signal after each step (below equation 4)."""
        # In float64: the product of a thousand float32 factors loses digits that show.
        beta = torch.linspace(self.beta_start, self.beta_end, self.timesteps, dtype=torch.float64)
        return torch.cumprod(1 - beta, dim=0).float().to(device)

    def sampler_timesteps(self, steps: int) -> list[int]:
        """`steps` timesteps from T - 1 down to 0, evenly spaced; a single one is T - 1."""
        return torch.linspace(self.timesteps - 1, 0, steps).round().long().tolist()


def add_noise(x: Images, alpha_bar: Float[Tensor, " n"], noise: Images) -> Images:
    """x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) epsilon (arXiv 2006.11239, equation 4)."""
    alpha_bar = alpha_bar[:, None, None, None]
    return alpha_bar.sqrt() * x + (1 - alpha_bar).sqrt() * noise


def noise_prediction_loss(
    denoise: Denoiser,
    x: Images,
    t: Int[Tensor, " n"],
    noise: Images,
    alpha_bar: Float[Tensor, " T"],
) -> Float[Tensor, ""]:
    """Mean of (epsilon - epsilon_theta(x_t, t))^2 (arXiv 2006.11239, equation 14)."""
    return F.mse_loss(denoise(add_noise(x, alpha_bar[t], noise), t), noise)


def estimate_image(x: Images, predicted_noise: Images, alpha_bar: Share, clip: bool) -> Images:
    """The finished image that the prediction implies (arXiv 2006.11239, equation 15).

    `clip` keeps it within [-1, 1]: where little signal is left a small error of the prediction is a
    large one of the image, and sampling can run away.
    """
    x_0 = (x - (1 - alpha_bar).sqrt() * predicted_noise) / alpha_bar.sqrt()
    return x_0.clamp(-1, 1) if clip else x_0


def ancestral_step(
    x: Images,
    predicted_noise: Images,
    alpha_bar: Share,
    alpha_bar_next: Share,
    noise: Images,
    clip: bool = False,
) -> Images:
    """One stochastic step towards less noise (arXiv 2006.11239, equations 6 and 7).

    From where the signal's share is `alpha_bar` to where it is `alpha_bar_next`; the two need not
    be neighbouring timesteps. The variance is the posterior's, zero where nothing is left to add.
    """
    alpha = alpha_bar / alpha_bar_next
    x_0 = estimate_image(x, predicted_noise, alpha_bar, clip)
    mean = (
        alpha_bar_next.sqrt() * (1 - alpha) / (1 - alpha_bar) * x_0
        + alpha.sqrt() * (1 - alpha_bar_next) / (1 - alpha_bar) * x
    )
    variance = (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha)
    return mean + variance.sqrt() * noise


def ddim_step(
    x: Images, predicted_noise: Images, alpha_bar: Share, alpha_bar_next: Share, clip: bool = False
) -> Images:
    """One deterministic step towards less noise (arXiv 2010.02502, equation 12 with sigma = 0)."""
    x_0 = estimate_image(x, predicted_noise, alpha_bar, clip)
    return alpha_bar_next.sqrt() * x_0 + (1 - alpha_bar_next).sqrt() * predicted_noise


@torch.inference_mode()
def sample(
    denoise: Denoiser,
    x: Images,
    timesteps: Sequence[int],
    alpha_bar: Float[Tensor, " T"],
    sampler: str,
    draw: Callable[[torch.Size], Tensor],
    keep_at: int = 0,
    clip: bool = False,
) -> tuple[Images, Images, int]:
    """Denoise `x`, pure noise at first, through falling `timesteps`; `clip` as in `estimate_image`.

    `draw` gives standard normal noise of a shape. Returns the images, and besides what the network
    saw at the timestep of the sequence nearest to `keep_at`, with that timestep: the input at which
    a probe reads the network.
    """
    keep_at = min(timesteps, key=lambda t: abs(t - keep_at))
    shares = [*alpha_bar[list(timesteps)], torch.ones((), device=x.device)]
    for t, a, a_next in zip(timesteps, shares, shares[1:], strict=False):
        if t == keep_at:
            seen = x
        predicted_noise = denoise(x, torch.full((len(x),), t, device=x.device))
        if sampler == "ddim":
            x = ddim_step(x, predicted_noise, a, a_next, clip)
        else:
            x = ancestral_step(x, predicted_noise, a, a_next, draw(x.shape), clip)
    return x, seen, keep_at
