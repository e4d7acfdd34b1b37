"""Many networks in training, a step of all at once; on a GPU that step is one CUDA graph."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bump_diffusion.config import TABLES, Configuration
from bump_diffusion.data.tasks import task_of
from bump_diffusion.models.stacked import stack_networks, stack_tensors
from bump_diffusion.models.unet import build_model
from bump_diffusion.training.diffusion import add_noise
from bump_diffusion.training.trainer import (
    LOSSY,
    Trainer,
    average_rate,
    draw_kept,
    draw_noise,
    learning_rate,
    training_labels,
)

MAY_DIFFER = {"seed", "init_seed", "sigma", "polarity", "held_out", "split"}
"""Fields in which the configurations of a stack may differ."""

GRID = {"d_x", "d_y"}
"""Fields in which they may too, if their networks know nothing of the grid of labels."""

MAX_VALUES = 2**23
"""In a layer's output, over all runs of a stack: enough to keep a GPU busy, in about 10 GB."""

MAX_RUNS = 64
"""Of a stack: each step draws for one after the other."""

BLOCK = 50
"""Steps whose images are rendered at once."""

REGISTER = 16
"""Numbers in the widest register of a CPU."""

EAGER_STEPS = 3
"""Before a step is captured: libraries choose their algorithms in the first ones."""


def stack_key(c: Configuration) -> str:
    """What is equal for configurations that can be stacked."""
    may_differ = MAY_DIFFER - {"sigma"} if c.rendering == "profiles" else MAY_DIFFER
    by_value = c.conditioning in TABLES or c.rendering == "learned" or c.injection == "axes"
    return c.model_dump_json(exclude=may_differ if by_value else may_differ | GRID)


def max_stack(c: Configuration) -> int:
    """The most runs like this one that gain from a stack: 1 where one run keeps a GPU busy, or has
    a layer that cannot be stacked, or one that the seed decides.
    """
    try:
        stack_networks([build_model(run) for run in (c, c.model_copy(update={"seed": c.seed ^ 1}))])
    except TypeError:
        return 1
    values = c.batch_size * task_of(c).height * c.N * c.width
    return max(1, min(MAX_RUNS, MAX_VALUES // values))


class Stack:
    """Trainers of configurations with one `stack_key`, at one step, that are trained together.

    Their weights, averages, optimizers' states and losses become views of the stack's; after `sync`
    each trainer can be evaluated, saved or trained by itself. A step draws what the trainers draw
    and differs from theirs by rounding. A stack of one trainer `alone` uses its network as it is.
    """

    def __init__(self, trainers: Sequence[Trainer], alone: bool = False):
        self.trainers = trainers
        first = trainers[0]
        self.c, self.device, self.step = first.c, first.device, first.step
        self.alpha_bar = first.alpha_bar
        networks = [t.model for t in trainers], [t.average.module for t in trainers]
        self.model, self.average = (n[0] if alone else stack_networks(n) for n in networks)
        self.losses = stack_tensors([t.losses for t in trainers])
        # As the optimizer's kernels take it: on the CPU the number itself, not rounded.
        kind = torch.float64 if self.device.type == "cpu" else torch.float32
        self.learning_rate = torch.zeros((), dtype=kind, device=self.device)
        self.average_rate = torch.zeros((), device=self.device)
        self._pairs: list[tuple[Tensor, Tensor]] = []
        "Weights and averages as the optimizer walks through them."
        self._split: list[tuple[Tensor, list[Tensor]]] = []
        "Stacked weights whose rows it takes one by one, and these rows."
        states = self._list_weights(alone)
        weights = [weight for weight, _ in self._pairs]
        self.optimizer = torch.optim.AdamW(weights, lr=self.learning_rate, fused=True)
        self.optimizer.state.update(zip(weights, states, strict=True))
        runs, batch = len(trainers), self.c.batch_size
        self.t = torch.empty(runs, batch, dtype=torch.long, device=self.device)
        shape = runs, batch, 1, task_of(self.c).height, self.c.N
        self.x, self.noise = torch.empty(2, *shape, device=self.device)
        self.labels, self.kept = torch.empty(2, runs, batch, 2, device=self.device)
        self.loss = torch.empty(runs, device=self.device)
        self._begun = self.step
        self._graph = None
        self._stream = torch.cuda.Stream() if self.device.type == "cuda" else None

    def _list_weights(self, alone: bool) -> list[dict[str, Any]]:
        """Fill `_pairs` and `_split`; return the optimizer's state of each of the pairs' weights.

        A kernel rounds what does not fill a register otherwise than what does. So that no run's
        result depends on how many there are, rows that do not fill registers stay tensors.
        """
        states = []
        networks = [(self.model, self.average), *((t.model, t.average) for t in self.trainers)]
        pairs_of = [zip(*(n.parameters() for n in pair), strict=True) for pair in networks]
        for (weight, average), *pairs in zip(*pairs_of, strict=True):
            own = [t.optimizer.state[w] for t, (w, _) in zip(self.trainers, pairs, strict=True)]
            if not alone and weight[0].numel() % REGISTER == 0:
                pairs, own = [(weight, average)], [_stack_states(own)]
            elif not alone:
                self._split.append((weight, [w for w, _ in pairs]))
            self._pairs += pairs
            states += own
        return states

    def train_step(self) -> None:
        """One optimizer step of all trainers."""
        self._fill_inputs()
        if self._stream is None:
            self._compute()
        else:
            self._compute_on_gpu()
        self.losses[:, self.step] = self.loss
        self.step += 1

    def sync(self) -> None:
        """Bring what the trainers count, their steps, to the stack's."""
        for trainer in self.trainers:
            trainer.step = self.step
            trainer.average.n_averaged.fill_(self.step)
            trainer.model.zero_grad()  # gradients may lie in the graph's memory
            for state in trainer.optimizer.state.values():
                state["step"].fill_(self.step)

    def _fill_inputs(self) -> None:
        """Put a step's data, draws and rates where the computation reads them."""
        i = (self.step - self._begun) % BLOCK
        if i == 0:
            self._render(min(BLOCK, self.c.steps - self.step))
        self.labels.copy_(self._labels[:, i])
        self.x.copy_(self._images[:, i])
        parts = zip(self.trainers, self.t, self.noise, self.kept, strict=True)
        for trainer, t, noise, kept in parts:
            draw_noise(trainer.c, self.step, t, noise)
            if self.c.injection in LOSSY:
                draw_kept(trainer.c, self.step, kept)
        self.learning_rate.fill_(learning_rate(self.c, self.step))
        self.average_rate.fill_(average_rate(self.c.ema_decay, self.step))

    def _render(self, steps: int) -> None:
        labels, images = [], []
        for trainer in self.trainers:
            c = trainer.c
            labels.append(training_labels(c, self.step, steps).to(self.device))
            images.append(task_of(c).render(labels[-1]))
        self._labels, self._images = (
            torch.stack(values).unflatten(1, (steps, -1)) for values in (labels, images)
        )

    def _compute(self) -> None:
        """The step itself, of inputs and results that stay where they are in memory."""
        labels, x, t, noise = (v.flatten(0, 1) for v in (self.labels, self.x, self.t, self.noise))
        x_t = add_noise(x, self.alpha_bar[t], noise).contiguous(memory_format=torch.channels_last)
        self.model.zero_grad()
        given = [labels, self.kept.flatten(0, 1)] if self.c.injection in LOSSY else [labels]
        predicted = self.model(x_t, t, self.model.conditioning(*given))
        squares = F.mse_loss(predicted, noise, reduction="none")
        loss = squares.reshape(len(self.trainers), -1).mean(dim=1)
        loss.sum().backward()  # no weight is shared, so each run has the gradient of its own loss
        for weight, rows in self._split:
            for row, gradient in zip(rows, weight.grad, strict=True):
                row.grad = gradient
        self.optimizer.step()
        with torch.no_grad():
            for weight, average in self._pairs:
                average.lerp_(weight, self.average_rate)
            self.loss.copy_(loss)

    def _compute_on_gpu(self) -> None:
        if self._graph is None and self.step - self._begun < EAGER_STEPS:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._compute()
            torch.cuda.current_stream().wait_stream(self._stream)
            return
        if self._graph is None:
            for group in self.optimizer.param_groups:
                group["capturable"] = True
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._compute()
        self._graph.replay()


def _stack_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    averages = {n: stack_tensors([s[n] for s in states]) for n in ("exp_avg", "exp_avg_sq")}
    return {"step": states[0]["step"].clone(), **averages}
