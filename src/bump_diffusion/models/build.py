"""The network of a configuration: networks are built here alone."""

import torch

from bump_diffusion.config import Configuration
from bump_diffusion.models.unet import UNet
from bump_diffusion.seeds import generator


def build_model(c: Configuration, device: torch.device | str = "cpu") -> UNet:
    """The untrained network of a configuration, its initial weights drawn from their seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator("cpu", c.weights_seed, "weights").initial_seed())
        model = UNet(c)
    return model.to(device, memory_format=torch.channels_last)
