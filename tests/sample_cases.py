"""Samples of a Gaussian at several temperatures, as files that something else has written."""

from pathlib import Path

import numpy as np

from jeffreysflow.config import Experiment, Project, resolve_experiment

TEMPERATURES = (900.0, 600.0, 300.0)
PRECISION = 4.0
KJ = 8.31446261815324e-3 * 300
ENERGY = "dimension = 2\n\n\ndef energy(x):\n    return 2.0 * (x**2).sum(1)\n"
BODY = """
title: samples that are there already
potential: {{file: energy.py}}
observables: [x1, x1**2]
references:
  r:
    kind: samples
    temperature: 300
    {more}
    files:
{files}
flows:
  f:
    reference: r
    theta: 0.5
    renyi: 1
    network: {{layers: 2, hidden: 8, bins: 4}}
    training: {{steps: 20, batch: 100}}
    ensemble: 2000
generation: {{samples: 4000}}
"""


def drawn(temperature: float, shape: tuple[int, ...] = (200, 8), seed: int = 1) -> np.ndarray:
    """Exact samples of exp(-U / T), [*shape, 2]."""
    rng = np.random.default_rng([seed, int(temperature)])
    return rng.normal(size=(*shape, 2)) / np.sqrt(PRECISION * 300 / temperature)


def write_files(folder: Path, **arrays: np.ndarray) -> None:
    """`energy.py`, and a file a temperature; ``arrays`` by the name `T300` replace its samples."""
    (folder / "energy.py").write_text(ENERGY)
    for T in TEMPERATURES:
        np.savez(folder / f"{T:.0f}.npz", x=arrays.get(f"T{T:.0f}", drawn(T)))


def experiment_of(
    folder: Path, more: str = "", files: str | None = None, body: str = BODY
) -> Experiment:
    """The experiment of the files in ``folder``."""
    rows = [f"      - {{file: {T:.0f}.npz, temperature: {T:.0f}}}" for T in TEMPERATURES]
    text = body.format(more=more, files="\n".join(rows) if files is None else files)
    file = folder / "e.yaml"
    file.write_text(text)
    return resolve_experiment(file, Project(experiments=[str(file)]))
