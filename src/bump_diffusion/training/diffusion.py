"""The diffusion: noise schedule, training loss, and two samplers.

Timesteps count from 0 to T - 1, as in most code; the papers count from 1 to T. `alpha_bar` is the
share of variance that is still signal; before the first noising step, in a clean image, it is 1.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Images

Denoiser = Callable[[Images, Int[Tensor, " n"]], Images]
"""Predicts the noise in images at timesteps."""

Share = Float[Tensor, ""]
"""alpha_bar at one timestep."""


def signal_shares(c: Configuration, device: torch.device | str = "cpu") -> Float[Tensor, " T"]:
    """alpha_bar of each timestep, for the linear schedule of DDPM (arXiv 2006.11239, section 4)."""
    # In float64: the product of a thousand float32 factors loses digits that show.
    beta = torch.linspace(c.beta_start, c.beta_end, c.timesteps, dtype=torch.float64)
    return torch.cumprod(1 - beta, dim=0).float().to(device)


def sampler_timesteps(c: Configuration) -> list[int]:
    """The sampler's timesteps from T - 1 down to 0, evenly spaced; a single one is T - 1."""
    return torch.linspace(c.timesteps - 1, 0, c.sampler_steps).round().long().tolist()


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
    c: Configuration,
    denoise: Denoiser,
    x: Images,
    draw: Callable[[Sequence[int]], Tensor],
    keep_at: int = 0,
) -> tuple[Images, Images, int]:
    """Denoise `x`, pure noise at first, by the configuration's sampler.

    `draw` gives standard normal noise of a shape. Returns the images, and besides what the network
    saw at the sampler's timestep nearest to `keep_at`, with that timestep.
    """
    timesteps, alpha_bar = sampler_timesteps(c), signal_shares(c, x.device)
    keep_at = min(timesteps, key=lambda t: abs(t - keep_at))
    shares = [*alpha_bar[timesteps], torch.ones((), device=x.device)]
    for t, a, a_next in zip(timesteps, shares, shares[1:], strict=False):
        if t == keep_at:
            seen = x
        predicted_noise = denoise(x, torch.full((len(x),), t, device=x.device))
        if c.sampler == "ddim":
            x = ddim_step(x, predicted_noise, a, a_next, c.clip_sample)
        else:
            x = ancestral_step(x, predicted_noise, a, a_next, draw(x.shape), c.clip_sample)
    return x, seen, keep_at
