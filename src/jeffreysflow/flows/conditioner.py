"""The network that turns the coordinates a layer keeps into spline parameters for the others."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn

from jeffreysflow.streams import Stream

__all__ = ["Conditioner"]


class Conditioner(nn.Module):
    """A multilayer perceptron [inputs, n] -> [outputs, n], features first.

    Its last layer starts at zero but for the ``offset`` [outputs] it is given, so that a new
    coupling layer is the identity. Without inputs it is a learnable constant. Hidden weights and
    biases are uniform in ``+-1/sqrt(fan in)``, drawn from ``stream``; without one they are zero,
    to be loaded.
    """

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        offset: torch.Tensor,
        stream: Stream | None = None,
    ) -> None:
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, width in pairwise((inputs, *hidden)):
            bound = 1 / math.sqrt(max(fan_in, 1))
            self.weights.append(_uniform(stream, bound, width, fan_in))
            self.biases.append(_uniform(stream, bound, width, 1))
        self.weights.append(nn.Parameter(torch.zeros(len(offset), (inputs, *hidden)[-1])))
        self.biases.append(nn.Parameter(offset[:, None].to(torch.get_default_dtype())))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.addmm(bias, weight, x)
            if i < last:
                x = x.relu_()
        return x


def _uniform(stream: Stream | None, bound: float, *shape: int) -> nn.Parameter:
    if stream is None:
        return nn.Parameter(torch.zeros(*shape))
    return nn.Parameter(stream.uniform(*shape, dtype=torch.float32).mul_(2).sub_(1).mul_(bound))
