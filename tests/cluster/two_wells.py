"""Two wells of which an evaluation can be made to last: `CLUSTER_TEST_PAUSE` seconds longer."""

import os
import time

import torch

dimension = 2
PAUSE = float(os.environ.get("CLUSTER_TEST_PAUSE", "0"))


def energy(x: torch.Tensor) -> torch.Tensor:
    """U(x) = 2 (x_1^2 - 1)^2 + x_2^2 in kT."""
    time.sleep(PAUSE)
    return 2 * (x[:, 0].square() - 1).square() + x[:, 1].square()
