"""The stage `generate`: fresh base samples through all levels of a flow, with exact weights."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.pushing import refuse_nan
from jeffreysflow.estimation.sobol import sobol_base_points
from jeffreysflow.flows.map import TransportMap
from jeffreysflow.launch.device import use_device
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.target import build_path
from jeffreysflow.potentials import AnnealingPath, Base
from jeffreysflow.progress import Progress
from jeffreysflow.stores.completion import read_record, write_record
from jeffreysflow.stores.ensembles import EnsembleWriter
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.streams import Stream

__all__ = ["run"]


def run(layout: Layout, experiment: Experiment, flow: str) -> None:
    """Generate ``experiment.generation.samples`` weighted samples; a few batches in memory at most.

    Raises
    ------
    UserError : a level of the flow is missing, foreign or damaged, or the energy of a sample is not
        a number.
    """
    started = time.time()
    section, hash = experiment.generation, experiment.generation_hash(flow)
    flow_hash, files = experiment.flow_hash(flow), layout.flow(flow)
    device = use_device(experiment.device, experiment.flow(flow).training.threads)
    path = build_path(experiment, layout=layout)
    assert path.base is not None
    flows = []
    for level in range(1, flow_steps(layout, experiment, flow) + 1):
        read_record(files.level(level) / "done.json", flow_hash)
        flows.append(load_flow(files.level(level) / "flow.safetensors", flow_hash).to(device))
    rows = min(each.rows_at_once for each in flows)
    batch = rows if section.batch == "auto" else section.batch
    points = _base_points(experiment, flow, path.base, batch)
    path.base.to(device)
    path.target.to(device)
    scrambled = section.base_points == "sobol"
    writer = EnsembleWriter(
        files.generated / "store.zarr",
        "generated",
        hash,
        section.samples,
        path.domain.dimension,
        experiment=experiment.name,
        flow=flow,
        seed=experiment.seed,
        base_points=section.base_points,
        **({"scramblings": section.scramblings} if scrambled else {}),
    )
    progress = Progress(section.samples, f"generate {experiment.name}/{flow}", "samples")
    done, not_finite, already = 0, 0, path.evaluations
    for z in points:
        made = generated(flows, path, z.to(device))
        refuse_nan(made, f"{experiment.name}/{flow}: generate")
        writer.write(made)
        done += len(z)
        not_finite += int((made.log_weights == -torch.inf).sum())
        progress.update(done)
    progress.close()
    writer.close()
    write_record(
        files.generated / "done.json",
        "generate",
        hash,
        started,
        device=device.type,
        threads=torch.get_num_threads(),
        samples=done,
        weights_zero=not_finite,
        evaluations=path.evaluations - already,
    )


@torch.no_grad()
def generated(flows: Sequence[TransportMap], path: AnnealingPath, z: torch.Tensor) -> Ensemble:
    """Base samples [n, d] through all flows, with ``log w = U_base(z) - U_M(x) + log|det|``.

    A sample in a wall, of infinite energy, gets weight 0.
    """
    assert path.base is not None
    x, log_weights = z, path.base.energy(z)
    for flow in flows:
        x, log_det = flow(x)
        log_weights = log_weights + log_det
    U_0, V = path.energies(x)
    log_weights = log_weights - (U_0 + V)
    return Ensemble(x, torch.where(torch.isfinite(log_weights), log_weights, -torch.inf), U_0, V)


def _base_points(
    experiment: Experiment, flow: str, base: Base, batch: int
) -> Iterator[torch.Tensor]:
    section = experiment.generation
    address = (experiment.name, flow, "generate")
    if section.base_points == "iid":
        for number, start in enumerate(range(0, section.samples, batch)):
            n = min(batch, section.samples - start)
            yield base.sample(n, Stream(experiment.seed, *address, number))
    else:
        each = section.samples // section.scramblings
        for scrambling in range(section.scramblings):
            seed, rows = experiment.seed, min(batch, each)
            yield from sobol_base_points(base, each, rows, seed, *address, scrambling)
