"""The networks in a page: WebAssembly and its sampler in a browser, against torch."""

import base64
import re
import shutil
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from playwright.sync_api import sync_playwright

from bump_diffusion.config import BLOCKS, configure
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.live import build
from bump_diffusion.live.export import weights_script
from bump_diffusion.metrics.evaluation import mean_embedding
from bump_diffusion.metrics.interventions import set_label, swap_output, swap_pairs
from bump_diffusion.models.hooks import patch_layers
from bump_diffusion.models.quantize import quantize_state, restore_state
from bump_diffusion.models.unet import build_model
from bump_diffusion.training.diffusion import sample

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(browser, path, before="", expected="$^", **options):
    """A page opened from a folder, without a network, after a script; it must not complain, except
    by what is `expected`.
    """
    context = browser.new_context(**options)
    context.set_offline(True)
    context.add_init_script(before)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert [text for text in complaints if not re.search(expected, text)] == []


def draw_network(**fields):
    """A configuration and its untrained network in eight bits, norms drawn too; with its state."""
    c = configure("smoke", **fields)
    model, draws = build_model(c).eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 1:
                weights += 0.3 * torch.randn(weights.shape, generator=draws)
    state = quantize_state(model.state_dict())
    model.load_state_dict(restore_state(state))
    return c, model, state


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """The path of a page with the runtime alone."""
    path = tmp_path_factory.mktemp("live") / "page.html"
    wasm = base64.b64encode(build.WASM.read_bytes()).decode()
    script = build.SOURCE.with_name("unet.js").read_text("utf-8")
    path.write_text(
        f"<!doctype html><script>{script}\nconst engine = new BumpEngine('{wasm}');</script>"
    )
    return path


@pytest.fixture(scope="module")
def page(browser, runtime):
    with open_page(browser, runtime) as page:
        yield page


def sample_in(page, c, state, labels, noise, intervention):
    """The images that the page samples."""
    page.evaluate(
        """([name, script]) => {
            const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
            return engine.load(name, url);
        }""",
        [c.id, weights_script(c.id, c, state)],
    )
    images = page.evaluate(
        "async (settings) => Array.from(await engine.sample(settings))",
        {
            "weights": c.id,
            "labels": labels.tolist(),
            "noise": noise.flatten().tolist(),
            "steps": c.sampler_steps,
            "intervention": intervention,
        },
    )
    return np.array(images, dtype=np.float32).reshape(noise.shape)


def hooks(c, model, labels, kind, layer):
    """The inputs and outputs that `interventions.intervene` changes."""
    other, mean = model.conditioning(swap_pairs(labels)), mean_embedding(c, model)
    return {
        "": ({}, {}),
        "other features": ({}, {layer: swap_output}),
        "other label": ({layer: set_label(other)}, {}),
        "no label": ({layer: set_label(mean)}, {}),
        "label here alone": ({b: set_label(mean) for b in BLOCKS if b != layer}, {}),
    }[kind]


NETWORKS = {
    "sinusoidal, 16 pixels": {"N": 16, "width": 16, "label_scale": 0.7, "sampler_steps": 12},
    "scalar, 32 pixels": {"N": 32, "width": 16, "conditioning": "scalar"},
    "table, 16 pixels, wide": {"N": 16, "width": 32, "conditioning": "table", "d_y": 2.0},
    "narrow, 8 pixels": {"N": 8, "width": 8, "clip_sample": False, "beta_end": 0.05},
    "lines": {"N": 16, "width": 24, "axes": "x"},
    "the label drawn beside": {"N": 16, "width": 16, "rendering": "lines", "injection": "none"},
    "the label both ways": {"N": 8, "width": 8, "rendering": "profiles", "conditioning": "table"},
}


@needs_chromium
@pytest.mark.parametrize("network", NETWORKS)
@torch.inference_mode()
def test_the_page_draws_what_torch_draws(page, network):
    """From the same noise, with every intervention."""
    c, model, state = draw_network(**{"sampler": "ddim", "sampler_steps": 3, **NETWORKS[network]})
    draws = torch.Generator().manual_seed(2)
    labels = torch.rand(2, 2, generator=draws) * (c.N - 1)
    noise = torch.randn(2, 1, task_of(c).height, c.N, generator=draws)
    drawn, embedding = [], model.conditioning(labels)
    for kind, layer in (
        ("", ""),
        ("other features", "layer1"),
        ("other features", "layer4"),
        ("other features", "bottleneck"),
        ("other features", "up2"),
        ("other label", "up3"),
        ("no label", "layer3"),
        ("label here alone", "up1"),
    ):
        if "label" in kind and c.rendering != "none":
            continue  # the page offers it of networks whose labels enter in blocks alone
        with patch_layers(model, *hooks(c, model, labels, kind, layer)):
            denoise = partial(model, label_embedding=embedding)
            want, *_ = sample(c, denoise, noise, torch.zeros)
        got = sample_in(page, c, state, labels, noise, {"kind": kind, "layer": layer})
        assert np.abs(got - want.numpy()).max() < 1e-4, (kind, layer)
        drawn.append(want)
    assert all((image - drawn[0]).abs().max() > 1e-3 for image in drawn[1:])


@needs_chromium
@pytest.mark.parametrize("without", ["", "delete globalThis.Worker;"])
def test_the_page_answers_while_it_samples(browser, runtime, without):
    """In a page that is blocked, no timer ticks."""
    c, _, state = draw_network(N=32, width=16, sampler_steps=50)
    labels, noise = torch.zeros(1, 2), torch.zeros(1, 1, 32, 32)
    with open_page(browser, runtime, without) as page:
        sample_in(page, c, state, labels, noise, {})
        page.evaluate("ticks = 0, setInterval(() => ticks++, 1)")
        sample_in(page, c, state, labels, noise, {})
        assert page.evaluate("ticks") > 5


def test_the_compiled_network_is_that_of_its_source():
    try:
        compiled = build.compile_network()
    except UserError as error:
        pytest.skip(error.message)
    assert compiled == build.WASM.read_bytes()


def test_without_the_compiler_one_sentence_names_it(monkeypatch):
    monkeypatch.setattr(build, "version", lambda name: "0.1")
    done = CliRunner().invoke(build.main)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: The compiler ziglang is 0.1, it must be ")
    assert len(done.stderr.splitlines()) == 1


def test_a_width_that_the_page_cannot_draw_is_refused():
    c, _, state = draw_network(width=40)
    with pytest.raises(UserError, match="width is 40, it must be 8, 24 or a multiple of 16"):
        weights_script("name", c, state)
