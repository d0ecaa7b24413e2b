"""All stages of an experiment with a reference `r` and a flow `f`, one after the other."""

from jeffreysflow.config import Experiment
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.stages import distill, estimate, gather, generate, temper, truth
from jeffreysflow.stores.layout import Layout
from jeffreysflow.tempering.communicator import SerialCommunicator


def run_to_estimates(
    layout: Layout, experiment: Experiment, levels: int, reference: str = "r", flow: str = "f"
) -> None:
    """Check it, and make all up to the estimates of both."""
    check_experiment(experiment)
    temper.run(layout, experiment, reference, communicator=SerialCommunicator())
    gather.run(layout, experiment, reference)
    for level in range(1, levels + 1):
        distill.run(layout, experiment, flow, level)
    generate.run(layout, experiment, flow)
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, reference)
    estimate.run_flow(layout, experiment, flow)
