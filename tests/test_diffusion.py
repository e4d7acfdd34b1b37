"""The schedule, the noising and both samplers against diffusers' schedulers."""

from functools import partial

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from bump_diffusion.config import configure
from bump_diffusion.training.diffusion import (
    add_noise,
    ancestral_step,
    ddim_step,
    noise_prediction_loss,
    sample,
    sampler_timesteps,
    signal_shares,
)

configurations = st.builds(
    partial(configure, "quick", sampler_steps=1),
    timesteps=st.integers(20, 1000),
    beta_start=st.floats(1e-5, 1e-3),
    beta_end=st.floats(2e-3, 0.03),
)


def peer(kind, c, clip=False, **options):
    return kind(
        num_train_timesteps=c.timesteps,
        beta_start=c.beta_start,
        beta_end=c.beta_end,
        beta_schedule="linear",
        clip_sample=clip,
        **options,
    )


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(configurations)
def test_schedule(c):
    assert torch.allclose(signal_shares(c), peer(DDPMScheduler, c).alphas_cumprod, rtol=1e-4)


@given(configurations, st.integers(0, 999))
def test_noising(c, seed):
    x, noise = normal(seed, 5, 1, 8, 8), normal(seed + 1, 5, 1, 8, 8)
    t = torch.randint(c.timesteps, (5,))
    ours = add_noise(x, signal_shares(c)[t], noise)
    assert torch.allclose(ours, peer(DDPMScheduler, c).add_noise(x, noise, t), atol=1e-4)


def test_arrays_that_do_not_fit_together_are_noticed_by_the_tests():
    """They would be broadcast: one noise for all images, one amount of it for all."""
    x = normal(0, 5, 1, 8, 8)
    for alpha_bar, noise in [(torch.full((1,), 0.5), x), (torch.full((5,), 0.5), x[:1])]:
        with pytest.raises(TypeCheckError):
            add_noise(x, alpha_bar, noise)


@settings(deadline=None)
@given(configurations, st.integers(2, 20), st.integers(0, 999), st.booleans())
def test_ddim_step(c, steps, seed, clip):
    scheduler = peer(DDIMScheduler, c, clip, set_alpha_to_one=True)
    scheduler.set_timesteps(steps)
    alpha_bar = signal_shares(c)
    x, noise = normal(seed, 3, 1, 8, 8), normal(seed + 1, 3, 1, 8, 8)
    for t in scheduler.timesteps.tolist():
        earlier = t - c.timesteps // steps
        following = alpha_bar[earlier] if earlier >= 0 else torch.tensor(1.0)
        ours = ddim_step(x, noise, alpha_bar[t], following, clip)
        theirs = scheduler.step(noise, t, x, eta=0.0).prev_sample
        assert torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3)


@settings(deadline=None)
@given(configurations, st.integers(0, 999), st.booleans(), st.data())
def test_ancestral_step(c, seed, clip, data):
    scheduler = peer(DDPMScheduler, c, clip, variance_type="fixed_small")
    alpha_bar = signal_shares(c)
    x, predicted = normal(seed, 3, 1, 8, 8), normal(seed + 1, 3, 1, 8, 8)
    t = data.draw(st.integers(0, c.timesteps - 1))
    theirs = scheduler.step(predicted, t, x, generator=torch.Generator().manual_seed(seed))
    drawn = normal(seed, 3, 1, 8, 8) if t > 0 else torch.zeros_like(x)
    following = alpha_bar[t - 1] if t > 0 else torch.tensor(1.0)
    ours = ancestral_step(x, predicted, alpha_bar[t], following, drawn, clip)
    assert torch.allclose(ours, theirs.prev_sample, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_sampling_with_the_true_noise_recovers_the_image(sampler, steps):
    """For data that is a single image the best noise prediction is known, and leads to it."""
    c = configure("quick", sampler=sampler, sampler_steps=steps, clip_sample=False)
    alpha_bar = signal_shares(c)
    image = normal(0, 1, 1, 8, 8)

    def denoise(x, t):
        a = alpha_bar[t][:, None, None, None]
        return (x - a.sqrt() * image) / (1 - a).sqrt()

    x = normal(1, 4, 1, 8, 8)
    final, _, _ = sample(c, denoise, x, torch.randn)
    assert torch.allclose(final, image.expand_as(final), atol=1e-3)


def test_ancestral_samples_have_the_datas_spread():
    """For normal data of known spread, sampling with the best prediction gives that spread."""
    c = configure("quick", sampler_steps=1000, clip_sample=False)
    alpha_bar = signal_shares(c)
    spread = 0.5

    def denoise(x, t):
        a = alpha_bar[t][:, None, None, None]
        return x * (1 - a).sqrt() / (a * spread**2 + 1 - a)

    x = normal(1, 2000, 1, 4, 4)
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    final, _, _ = sample(c, denoise, x, draw)
    assert abs(float(final.std()) - spread) < 0.01


def test_sampler_timesteps_span_the_schedule():
    for steps, expected in [(1000, list(range(999, -1, -1))), (4, [999, 666, 333, 0]), (1, [999])]:
        assert sampler_timesteps(configure("quick", sampler_steps=steps)) == expected


def test_probed_input_is_what_the_network_saw():
    c = configure("quick", timesteps=100, sampler_steps=5)
    seen = {}

    def denoise(x, t):
        seen[int(t[0])] = x.clone()
        return torch.zeros_like(x)

    x = normal(0, 2, 1, 8, 8)
    for wanted, nearest in [(0, 0), (30, 25), (99, 99)]:
        _, kept, t = sample(c, denoise, x, torch.randn, wanted)
        assert t == nearest
        assert torch.equal(kept, seen[nearest])


def test_loss_of_a_perfect_and_of_an_absent_prediction():
    alpha_bar = signal_shares(configure("smoke"))
    x, noise, t = normal(0, 64, 1, 8, 8), normal(1, 64, 1, 8, 8), torch.arange(64)
    assert noise_prediction_loss(lambda x_t, t: noise, x, t, noise, alpha_bar) == 0
    absent = noise_prediction_loss(lambda x_t, t: 0 * x_t, x, t, noise, alpha_bar)
    assert abs(float(absent) - float((noise**2).mean())) < 1e-6
