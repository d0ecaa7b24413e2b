"""Time of an energy with its gradient: the sources' sums over modes against dense inverses.

    python benchmarks/potential_evaluation.py [--threads 1] [--device cpu] [--tiny]

``screened_poisson_8d`` on many rows at once: by its modes (20 and 41 an axis), and by the inverse
of the 1681 x 1681 operator as a matrix, from the right-hand side on the nodes to u on the nodes and
its adjoint back; also by the 81 rows of that inverse that the sensors see. All alternate in one
run, so a busy machine disturbs all alike; the median of each is printed. ``--tiny`` takes few rows
and repeats, to see that it runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from jeffreysflow.potentials import get_potential
from jeffreysflow.potentials.energies.screened_poisson_8d import ScreenedPoisson8d
from jeffreysflow.streams import Stream

NODES, EVERY, WIDTH = 41, 4, 0.1


def dense_inverse() -> torch.Tensor:
    """Of -Laplace + 1 on 41 x 41 nodes without neighbours beyond the edge."""
    step = torch.diag(torch.ones(NODES - 1, dtype=torch.float64), 1)
    path = torch.diag((step + step.T).sum(dim=1)) - step - step.T
    one = torch.eye(NODES, dtype=torch.float64)
    laplace = (torch.kron(path, one) + torch.kron(one, path)) * (NODES - 1) ** 2
    return torch.linalg.inv(laplace + torch.eye(NODES**2, dtype=torch.float64))


def seen() -> torch.Tensor:
    """The nodes of the sensors, row by row."""
    axis = torch.arange(EVERY, NODES - 1, EVERY)
    return (axis[:, None] * NODES + axis).flatten()


def by_inverse(
    inverse: torch.Tensor, sensors: torch.Tensor | None, data: torch.Tensor, sd: float
) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Energy and gradient of sources [n, 8], through u on the nodes (``sensors`` among them), or
    through rows of the inverse for the sensors alone (None).
    """
    nodes = torch.linspace(0, 1, NODES, dtype=inverse.dtype, device=inverse.device)

    @torch.no_grad()
    def evaluated(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        offsets = nodes - x.reshape(-1, 4, 2, 1)
        profiles = torch.exp(-0.5 / WIDTH**2 * offsets.square())
        along_1, along_2 = profiles.unbind(dim=2)
        source = (along_1.transpose(1, 2) @ along_2).flatten(1)
        field = source @ inverse.T
        residuals = ((field if sensors is None else field[:, sensors]) - data) / sd
        pull = residuals / sd
        if sensors is not None:
            pull = torch.zeros_like(field).index_copy_(1, sensors, pull)
        back = (pull @ inverse).reshape(-1, NODES, NODES)
        both = torch.stack([along_2 @ back.transpose(1, 2), along_1 @ back], dim=2)
        slopes = (both * profiles * offsets).sum(dim=-1) / WIDTH**2
        return 0.5 * residuals.square().sum(dim=1), slopes.flatten(1)

    return evaluated


def medians(steps: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Milliseconds of each, alternating."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"rows": 2000, "repeats": 9, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--tiny", action="store_true")
    o = parser.parse_args()
    if o.tiny:
        o.rows, o.repeats = 20, 2
    torch.set_num_threads(o.threads)
    some, full = (
        get_potential("screened_poisson_8d", modes=modes).to(o.device) for modes in (20, 41)
    )
    assert isinstance(full, ScreenedPoisson8d)
    x = Stream(0, "benchmark").uniform(o.rows, 8, device=o.device)
    inverse, sensors = dense_inverse().to(o.device), seen().to(o.device)
    data, sd = full._data, full._sd
    dense = by_inverse(inverse, sensors, data, sd)
    rows = by_inverse(inverse[sensors].contiguous(), None, data, sd)
    nine = torch.arange(0, full.terms, 9, device=o.device)
    energy, gradient = full.energy_and_gradient(x)
    for other in (dense, rows):
        torch.testing.assert_close(other(x), (energy, gradient), rtol=1e-8, atol=1e-6)
    found = medians(
        {
            "dense inverse": lambda: dense(x),
            "its 81 rows": lambda: rows(x),
            "41 modes": lambda: full.energy_and_gradient(x),
            "20 modes": lambda: some.energy_and_gradient(x),
            "20 modes, energy": lambda: some.energy(x),
            "20 modes, batch of 9": lambda: some.batch_energy_and_gradient(x, nine),
        },
        o.repeats,
        o.device,
    )
    print(f"{o.rows} rows, float64, {o.device}, {o.threads} threads, torch {torch.__version__}")
    print(f"{'':22s} {'ms':>8s} {'us a row':>9s} {'dense /':>8s}")
    for name, value in found.items():
        ratio = found["dense inverse"] / value
        print(f"{name:22s} {value:8.1f} {1e3 * value / o.rows:9.2f} {ratio:8.1f}")


if __name__ == "__main__":
    main()
