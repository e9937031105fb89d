"""Stacked networks: each product is one batched matrix multiplication over all rows."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..counters import Counter
from .base import (
    LARGEST_SQUARE,
    NARROW,
    Clipped,
    Context,
    Loss,
    Outputs,
    Params,
    clip_factors,
    one_each,
    output_gradients,
)
from .layers import Factors, Layer, Linear, Relu


@dataclass(frozen=True)
class Stacked:
    """Layers one after another.

    Attributes:
        body: layers up to the features.
        head: layers from the features to the logits; not empty.
    """

    body: tuple[Layer, ...]
    head: tuple[Layer, ...]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one row, first layer first."""
        found: dict[str, tuple[int, ...]] = {}
        for layer in self.body + self.head:
            found |= layer.shapes()
        return found

    def initial(
        self, counter: Counter, clients: Tensor, replicas: Tensor, *, first: int = 0
    ) -> Params:
        """As torch.nn.Linear: uniform in +-1/sqrt(fan_in), biases too; "up" matrices are zero.

        An adapter therefore starts as the identity. `first` positions of the counter are left out.
        """
        found, fan_in = {}, 1
        for name, shape in self.shapes().items():
            count = math.prod(shape)
            fan_in = fan_in if name.endswith(".bias") else shape[0]
            draw = counter.uniform(clients, replicas, count, first=first)
            first += count
            value = ((2.0 * draw - 1.0) / math.sqrt(fan_in)).float().unflatten(1, shape)
            found[name] = torch.zeros_like(value) if ".up." in name else value
        return found

    def outputs(self, params: Params, x: Tensor) -> Outputs:
        """See `Kernel`."""
        with torch.no_grad():
            return self._forward(params, x)[0]

    def gradients(
        self, params: Params, x: Tensor, y: Tensor, weights: Tensor, loss: Loss, context: Context
    ) -> Params:
        """See `Kernel`."""
        found, _ = self.factors(params, x, y, weights, loss, context)
        return sums(params, found)

    def clipped_sums(
        self,
        params: Params,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        loss: Loss,
        context: Context,
        *,
        clip_norm: float,
    ) -> Params:
        """See `Kernel`; the norms come from the factors, no record's gradient is held."""
        found, _ = self.factors(params, x, y, one_each(weights), loss, context)
        clipped = clip_factors(squares(params, found, weights), weights, clip_norm)
        return weighted_sums(params, found, clipped)

    def descend(
        self,
        params: Params,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        loss: Loss,
        context: Context,
        *,
        learning_rate: float,
    ) -> None:
        """See `Kernel`; gradients are added to the parameters while they are computed."""
        found, _ = self.factors(params, x, y, weights, loss, context)
        for name, (inputs, output) in found.items():
            weight = params[f"{name}.weight"]
            if output.shape[2] < NARROW:
                weight.sub_((output.mT @ inputs).mT, alpha=learning_rate)
            else:
                weight.baddbmm_(inputs.mT, output, alpha=-learning_rate)
            if f"{name}.bias" in params:
                params[f"{name}.bias"].sub_(output.sum(dim=1, keepdim=True), alpha=learning_rate)

    def _forward(self, params: Params, x: Tensor) -> tuple[Outputs, list[tuple[Tensor, Tensor]]]:
        tape, features = [], x
        for number, layer in enumerate(self.body + self.head):
            if number == len(self.body):
                features = x
            y, saved = layer.forward(params, x)
            tape.append((x, saved))
            x = y
        return Outputs(features, x), tape

    def factors(
        self,
        params: Params,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        loss: Loss,
        context: Context,
        *,
        needs_input: bool = False,
    ) -> tuple[dict[str, Factors], Tensor | None]:
        """Factors of each linear map; gradient at x, float[rows, batch, in], if it is needed."""
        below: Tensor | None = None
        with torch.no_grad():
            outputs, tape = self._forward(params, x)
            at_features, gradient = output_gradients(outputs, y, weights, loss, context)
            found: dict[str, Factors] = {}
            layers = self.body + self.head
            for number in reversed(range(len(layers))):
                inputs, saved = tape[number]
                below = layers[number].backward(
                    params, inputs, saved, gradient, found, needs_input=needs_input or number > 0
                )
                if number == len(self.body) and at_features is not None and below is not None:
                    below = below + at_features
                if below is not None:
                    gradient = below
        return found, below


def sums(params: Params, found: dict[str, Factors]) -> Params:
    """Sum of the records' gradients, of their factors."""
    gradients = {}
    for name, (inputs, output) in found.items():
        narrow = output.shape[2] < NARROW
        product = (output.mT @ inputs).mT if narrow else inputs.mT @ output
        gradients[f"{name}.weight"] = product
        if f"{name}.bias" in params:
            gradients[f"{name}.bias"] = output.sum(dim=1, keepdim=True)
    return {name: gradients[name] for name in params if name in gradients}


def squares(params: Params, found: dict[str, Factors], like: Tensor) -> Tensor:
    """float64[rows, batch]: squared norm of each record's gradient, of its factors.

    In double precision: a product of single-precision squares can vanish or overflow. Infinite
    where an input is longer than a gradient may be; zero where nothing is trained.

    Args:
        params: of the network.
        found: factors of each linear map.
        like: [rows, batch].
    """
    parts = []
    for name, (inputs, output) in found.items():
        size = torch.linalg.vector_norm(inputs, dim=-1, dtype=torch.float64).square_()
        size.div_(size <= LARGEST_SQUARE)
        if f"{name}.bias" in params:
            size.add_(1.0)
        length = torch.linalg.vector_norm(output, dim=-1, dtype=torch.float64)
        parts.append(size.mul_(length.square_()))
    total: Tensor = sum(parts, start=torch.zeros_like(like, dtype=torch.float64))
    return total


def weighted_sums(params: Params, found: dict[str, Factors], clipped: Clipped) -> Params:
    """Sum of the records' gradients, each times its factor."""
    scaled = {}
    for name, (inputs, output) in found.items():
        output = output * clipped.factor.unsqueeze(-1)
        if clipped.broken is not None:
            # Zero times NaN is NaN: what is not finite must go, not be weighted.
            output = output.masked_fill(clipped.broken.unsqueeze(-1), 0.0)
            inputs = inputs.masked_fill(clipped.broken.unsqueeze(-1), 0.0)
        scaled[name] = Factors(inputs, output)
    return sums(params, scaled)


def mlp(sizes: tuple[int, ...]) -> Stacked:
    """Linear layers with ReLU between them; the features are the last hidden activations.

    >>> list(mlp((64, 128, 10)).shapes())
    ['1.weight', '1.bias', '2.weight', '2.bias']
    """
    body: list[Layer] = []
    for number, (a, b) in enumerate(zip(sizes[:-2], sizes[1:-1], strict=True), start=1):
        body += [Linear(str(number), a, b), Relu()]
    return Stacked(tuple(body), (Linear(str(len(sizes) - 1), sizes[-2], sizes[-1]),))
