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

    With ``residual`` the first hidden layer is followed by blocks of two, which an even number of
    further hidden layers of its width is for: ``h + W_2 relu(W_1 relu(h) + b_1) + b_2``, with W_2
    zero to begin with (He et al. 2016, arXiv 1603.05027), so that many of them train as well as
    few.
    """

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        offset: torch.Tensor,
        stream: Stream | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self._residual = residual
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer, (fan_in, width) in enumerate(pairwise((inputs, *hidden))):
            ends_a_block = residual and layer > 0 and layer % 2 == 0
            bound = 0.0 if ends_a_block else 1 / math.sqrt(max(fan_in, 1))
            self.weights.append(_uniform(stream, bound, width, fan_in))
            self.biases.append(_uniform(stream, bound, width, 1))
        self.weights.append(nn.Parameter(torch.zeros(len(offset), (inputs, *hidden)[-1])))
        self.biases.append(nn.Parameter(offset[:, None].to(torch.get_default_dtype())))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = list(zip(self.weights, self.biases, strict=True))
        if self._residual:
            x = _affine(layers[0], x)
            for inner, outer in zip(layers[1:-1:2], layers[2:-1:2], strict=True):
                x = x + _affine(outer, _affine(inner, x.relu()).relu_())
            x = x.relu()
        else:
            for layer in layers[:-1]:
                x = _affine(layer, x).relu_()
        return _affine(layers[-1], x)


def _affine(layer: tuple[torch.Tensor, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    weight, bias = layer
    return torch.addmm(bias, weight, x)


def _uniform(stream: Stream | None, bound: float, *shape: int) -> nn.Parameter:
    if stream is None:
        return nn.Parameter(torch.zeros(*shape))
    return nn.Parameter(stream.uniform(*shape, dtype=torch.float32).mul_(2).sub_(1).mul_(bound))
