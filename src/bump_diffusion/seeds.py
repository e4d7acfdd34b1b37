"""Random numbers as a function of what they are for, so that no generator's state is kept."""

import hashlib

import torch


def generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """A generator on `device` seeded by `key`, for example (seed, "noise", step).

    A run that is resumed draws for each step what the uninterrupted one draws.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big"))
