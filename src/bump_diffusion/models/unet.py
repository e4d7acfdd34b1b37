"""The conditional U-Net of the paper, and how labels enter it (arXiv 2402.03305, section 2)."""

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Images
from bump_diffusion.models.biases import AxisProfiles, count_injected, draw_beside, embed_labels
from bump_diffusion.models.conditioning import Embeddings, positional_encoding
from bump_diffusion.models.hooks import read_layers
from bump_diffusion.seeds import generator

TIME_FEATURES = 128


class DoubleConvolution(nn.Module):
    """Convolution, group norm, GELU, twice; `residual` adds the input before the last GELU.

    The norm takes all channels as one group. Smaller groups would remove an image's brightness, and
    sampling, uncorrected, would then drift to all black or all white.
    """

    def __init__(self, channels_in: int, channels: int, residual: bool = False):
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.GroupNorm(1, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(1, channels),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        y = self.layers(x)
        return F.gelu(x + y if self.residual else y)


class SelfAttention(nn.Module):
    """Pre-norm self-attention over the pixels, a head per 16 channels, and a perceptron."""

    def __init__(self, channels: int):
        super().__init__()
        self.heads = max(1, channels // 16)
        self.norm = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, channels),
            nn.GELU(),
            nn.Linear(channels, channels),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        qkv = self.query_key_value(self.norm(tokens))
        q, k, v = qkv.view(n, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        tokens = tokens + self.project(attended.transpose(1, 2).reshape(n, h * w, c))
        tokens = tokens + self.perceptron(tokens)
        return tokens.transpose(1, 2).reshape(n, c, h, w)


class Block(nn.Module):
    """Two double convolutions, the injected timestep and label, self-attention.

    `size` is the width and the height of what the block gets, pixels.
    """

    def __init__(self, c: Configuration, name: str, size: int, channels_in: int, channels: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            DoubleConvolution(channels_in, channels_in, residual=True),
            DoubleConvolution(channels_in, channels),
        )
        self.features = TIME_FEATURES + count_injected(c, name)
        self.inject = nn.Linear(self.features, channels)
        self.attention = SelfAttention(channels)
        self.along_axes = AxisProfiles(c, channels, size) if c.injection == "axes" else None

    def forward(
        self, x: Float[Tensor, "n c h w"], embedding: Embeddings
    ) -> Float[Tensor, "n k h w"]:
        y = self.convolutions(x) + self.inject(embedding[:, : self.features])[:, :, None, None]
        if self.along_axes is not None:
            y = y + self.along_axes(embedding[:, TIME_FEATURES:])
        return self.attention(y)


class UNet(nn.Module):
    """Predicts the noise in an image, given the timestep and the embedded label.

    Three down-sampling and three up-sampling blocks, each max-pooling (or bilinear up-sampling)
    followed by two double convolutions and self-attention, with skip connections; timestep and
    label are injected at each of the six (arXiv 2402.03305, section 2, and the architecture
    figure of arXiv 2408.13256). Channels are w, 2w, 4w, 4w on the way down and 8w in the
    bottleneck, for a width w (a multiple of 8; the paper's is not stated). With a bias
    (`models.biases`) the label enters otherwise, also as channels of the image.

    The label's part of every injection, and every channel, is linear in what `conditioning`
    returns, so putting the mean of `conditioning` over a data set in its place removes exactly what
    varies with the label.

    With the precision "bfloat16" the network computes as torch's autocast does (convolutions and
    matrix products in bfloat16, and on a CPU what follows them too); weights, optimizer and what is
    returned stay float32.
    """

    def __init__(self, c: Configuration):
        super().__init__()
        w, N = c.width, c.N
        self.precision = c.precision
        self.conditioning = embed_labels(c)
        self.rendered = c.rendering != "none"
        self.layer1 = DoubleConvolution(3 if self.rendered else 1, w)
        self.layer2 = Block(c, "layer2", N // 2, w, 2 * w)
        self.layer3 = Block(c, "layer3", N // 4, 2 * w, 4 * w)
        self.layer4 = Block(c, "layer4", N // 8, 4 * w, 4 * w)
        self.bottleneck = nn.Sequential(
            DoubleConvolution(4 * w, 8 * w),
            DoubleConvolution(8 * w, 8 * w),
            DoubleConvolution(8 * w, 4 * w),
        )
        self.up3 = Block(c, "up3", N // 4, 8 * w, 2 * w)
        self.up2 = Block(c, "up2", N // 2, 4 * w, w)
        self.up1 = Block(c, "up1", N, 2 * w, w)
        self.output = nn.Conv2d(w, 1, 1)

    def forward(self, x: Images, t: Int[Tensor, " n"], label_embedding: Embeddings) -> Images:
        """`t` counts noising steps from 0; `label_embedding` is `self.conditioning(labels)`."""
        embedding = torch.cat([positional_encoding(t, TIME_FEATURES), label_embedding], dim=1)
        if self.rendered:
            x = draw_beside(x, label_embedding[:, -2 * x.shape[-1] :])
        # Images one pixel high are lines: down- and up-sampling are along x alone.
        factors = (2 if x.shape[2] > 1 else 1, 2)

        def join(skipped: Tensor, y: Tensor) -> Tensor:
            y = F.interpolate(y, scale_factor=factors, mode="bilinear", align_corners=False)
            return torch.cat([skipped, y], dim=1)

        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            x1 = self.layer1(x)
            x2 = self.layer2(F.max_pool2d(x1, factors), embedding)
            x3 = self.layer3(F.max_pool2d(x2, factors), embedding)
            x4 = self.layer4(F.max_pool2d(x3, factors), embedding)
            y = self.bottleneck(x4)
            # The bottleneck keeps layer 4's resolution, so the first up-sampling meets layer 3.
            y = self.up3(join(x3, y), embedding)
            y = self.up2(join(x2, y), embedding)
            y = self.up1(join(x1, y), embedding)
            return self.output(y).float()


def build_model(c: Configuration, device: torch.device | str = "cpu") -> UNet:
    """The untrained network of a configuration, its initial weights drawn from their seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator("cpu", c.weights_seed, "weights").initial_seed())
        model = UNet(c)
    return model.to(device, memory_format=torch.channels_last)


def summarize(model: UNet, N: int) -> pd.DataFrame:
    """The output's shape and the number of parameters of each part of the network, for images of
    `N` pixels a side; a row a part.
    """
    parts = {**dict(model.named_children()), "all": model}
    device = next(model.parameters()).device
    x, t = torch.zeros(1, 1, N, N, device=device), torch.zeros(1, dtype=torch.long, device=device)
    with torch.inference_mode():
        embedding = model.conditioning(torch.zeros(1, 2, device=device))
        outputs = read_layers(model, parts.keys() - {"conditioning", "all"}, x, t, embedding)
    outputs |= {"conditioning": embedding, "all": outputs["output"]}
    rows = {
        name: {
            "output": " × ".join(str(n) for n in outputs[name].shape[1:]),
            "parameters": f"{sum(p.numel() for p in part.parameters()):,}",
        }
        for name, part in parts.items()
    }
    return pd.DataFrame(rows).T.rename_axis("part")
