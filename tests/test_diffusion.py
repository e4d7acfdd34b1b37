"""The schedule, the noising and both samplers against diffusers' schedulers."""

from functools import partial

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from bump_diffusion.training.diffusion import (
    NoiseSchedule,
    add_noise,
    ancestral_step,
    ddim_step,
    noise_prediction_loss,
    sample,
)

schedules = st.builds(
    NoiseSchedule, st.integers(20, 1000), st.floats(1e-5, 1e-3), st.floats(2e-3, 0.03)
)


def peer(kind, schedule, clip=False, **options):
    return kind(
        num_train_timesteps=schedule.timesteps,
        beta_start=schedule.beta_start,
        beta_end=schedule.beta_end,
        beta_schedule="linear",
        clip_sample=clip,
        **options,
    )


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(schedules)
def test_schedule(schedule):
    assert torch.allclose(
        schedule.alpha_bar(), peer(DDPMScheduler, schedule).alphas_cumprod, rtol=1e-4
    )


@given(schedules, st.integers(0, 999))
def test_noising(schedule, seed):
    x, noise = normal(seed, 5, 1, 8, 8), normal(seed + 1, 5, 1, 8, 8)
    t = torch.randint(schedule.timesteps, (5,))
    ours = add_noise(x, schedule.alpha_bar()[t], noise)
    assert torch.allclose(ours, peer(DDPMScheduler, schedule).add_noise(x, noise, t), atol=1e-4)


def test_arrays_that_do_not_fit_together_are_noticed_by_the_tests():
    """They would be broadcast: one noise for all images, one amount of it for all."""
    x = normal(0, 5, 1, 8, 8)
    for alpha_bar, noise in [(torch.full((1,), 0.5), x), (torch.full((5,), 0.5), x[:1])]:
        with pytest.raises(TypeCheckError):
            add_noise(x, alpha_bar, noise)


@settings(deadline=None)
@given(schedules, st.integers(2, 20), st.integers(0, 999), st.booleans())
def test_ddim_step(schedule, steps, seed, clip):
    scheduler = peer(DDIMScheduler, schedule, clip, set_alpha_to_one=True)
    scheduler.set_timesteps(steps)
    alpha_bar = schedule.alpha_bar()
    x, noise = normal(seed, 3, 1, 8, 8), normal(seed + 1, 3, 1, 8, 8)
    for t in scheduler.timesteps.tolist():
        earlier = t - schedule.timesteps // steps
        following = alpha_bar[earlier] if earlier >= 0 else torch.tensor(1.0)
        ours = ddim_step(x, noise, alpha_bar[t], following, clip)
        theirs = scheduler.step(noise, t, x, eta=0.0).prev_sample
        assert torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3)


@settings(deadline=None)
@given(schedules, st.integers(0, 999), st.booleans(), st.data())
def test_ancestral_step(schedule, seed, clip, data):
    scheduler = peer(DDPMScheduler, schedule, clip, variance_type="fixed_small")
    alpha_bar = schedule.alpha_bar()
    x, predicted = normal(seed, 3, 1, 8, 8), normal(seed + 1, 3, 1, 8, 8)
    t = data.draw(st.integers(0, schedule.timesteps - 1))
    theirs = scheduler.step(predicted, t, x, generator=torch.Generator().manual_seed(seed))
    drawn = normal(seed, 3, 1, 8, 8) if t > 0 else torch.zeros_like(x)
    following = alpha_bar[t - 1] if t > 0 else torch.tensor(1.0)
    ours = ancestral_step(x, predicted, alpha_bar[t], following, drawn, clip)
    assert torch.allclose(ours, theirs.prev_sample, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_sampling_with_the_true_noise_recovers_the_image(sampler, steps):
    """For data that is a single image the best noise prediction is known, and leads to it."""
    schedule = NoiseSchedule(1000, 1e-4, 0.02)
    alpha_bar = schedule.alpha_bar()
    image = normal(0, 1, 1, 8, 8)

    def denoise(x, t):
        a = alpha_bar[t][:, None, None, None]
        return (x - a.sqrt() * image) / (1 - a).sqrt()

    x = normal(1, 4, 1, 8, 8)
    timesteps = schedule.sampler_timesteps(steps)
    final, _, _ = sample(denoise, x, timesteps, alpha_bar, sampler, torch.randn)
    assert torch.allclose(final, image.expand_as(final), atol=1e-3)


def test_ancestral_samples_have_the_datas_spread():
    """For normal data of known spread, sampling with the best prediction gives that spread."""
    schedule = NoiseSchedule(1000, 1e-4, 0.02)
    alpha_bar = schedule.alpha_bar()
    spread = 0.5

    def denoise(x, t):
        a = alpha_bar[t][:, None, None, None]
        return x * (1 - a).sqrt() / (a * spread**2 + 1 - a)

    x = normal(1, 2000, 1, 4, 4)
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    timesteps = schedule.sampler_timesteps(1000)
    final, _, _ = sample(denoise, x, timesteps, alpha_bar, "ancestral", draw)
    assert abs(float(final.std()) - spread) < 0.01


def test_sampler_timesteps_span_the_schedule():
    schedule = NoiseSchedule(1000, 1e-4, 0.02)
    assert schedule.sampler_timesteps(1000) == list(range(999, -1, -1))
    assert schedule.sampler_timesteps(4) == [999, 666, 333, 0]
    assert schedule.sampler_timesteps(1) == [999]


def test_probed_input_is_what_the_network_saw():
    schedule = NoiseSchedule(100, 1e-4, 0.02)
    seen = {}

    def denoise(x, t):
        seen[int(t[0])] = x.clone()
        return torch.zeros_like(x)

    x = normal(0, 2, 1, 8, 8)
    timesteps = schedule.sampler_timesteps(5)
    for wanted, nearest in [(0, 0), (30, 25), (99, 99)]:
        _, kept, t = sample(
            denoise, x, timesteps, schedule.alpha_bar(), "ancestral", torch.randn, wanted
        )
        assert t == nearest
        assert torch.equal(kept, seen[nearest])


def test_loss_of_a_perfect_and_of_an_absent_prediction():
    alpha_bar = NoiseSchedule(100, 1e-4, 0.02).alpha_bar()
    x, noise, t = normal(0, 64, 1, 8, 8), normal(1, 64, 1, 8, 8), torch.arange(64)
    assert noise_prediction_loss(lambda x_t, t: noise, x, t, noise, alpha_bar) == 0
    absent = noise_prediction_loss(lambda x_t, t: 0 * x_t, x, t, noise, alpha_bar)
    assert abs(float(absent) - float((noise**2).mean())) < 1e-6
