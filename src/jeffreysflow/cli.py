"""``jeffreysflow <command>``: one command a stage, one Snakemake rule a command."""

from __future__ import annotations

import argparse
import errno
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, get_args

from jeffreysflow import __version__, commands
from jeffreysflow.config import (
    Experiment,
    Project,
    ReferenceConfig,
    experiment_file,
    experiment_names,
    load_project,
    resolve_experiment,
    resolve_project,
    schemas,
    settings_of,
)
from jeffreysflow.config.fitted import LevelOfBase
from jeffreysflow.config.folders import check_writable
from jeffreysflow.config.paper import load_paper
from jeffreysflow.config.size import refuse_what_does_not_fit
from jeffreysflow.errors import UserError, one_line
from jeffreysflow.machine import free_disk_mb, memory_limit_mb
from jeffreysflow.processes import SignalledError, end_with_the_workflow
from jeffreysflow.stores.sealed import DamagedError, write_atomically

__all__ = ["main"]


_CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
}
_INTERRUPTED = 128 + 2
_PAPER = Path("workflow", "paper.yaml")
_TRUST = "run code of a configuration from outside the working folder"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(UserError.exit_code, f"{self.prog}: {one_line(message)}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; bad input, a full disk and a missing permission are one line on standard error
    and exit code 2.
    """
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except UserError as error:
        if isinstance(error, DamagedError):
            error.withdraw()
        return _refused(options.stage, str(error))
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        where = error.filename2 or error.filename or "while writing"
        return _refused(options.stage, one_line(f"{where}: {error.strerror}"))
    except SignalledError as error:
        return error.exit_code
    except KeyboardInterrupt:
        _refused(options.stage, "interrupted")
        return _INTERRUPTED
    return 0


def _refused(stage: str, why: str) -> int:
    print(f"jeffreysflow {stage}: {why}", file=sys.stderr, flush=True)
    return UserError.exit_code


def run_as_rank() -> None:
    """`python -m jeffreysflow`: as ``main``, but a failing rank takes its MPI world with it.

    A ``SystemExit`` with a code other than 0 makes ``python -m mpi4py`` abort all ranks.
    """
    end_with_the_workflow()
    sys.exit(main())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jeffreysflow", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"jeffreysflow {__version__}")
    parsers = parser.add_subparsers(
        required=True, dest="stage", metavar="command", parser_class=_Parser
    )

    def add(name: str, what: str, command: Callable[[argparse.Namespace], None]) -> _Parser:
        added = parsers.add_parser(name, help=what, description=what)
        added.set_defaults(command=command)
        return added

    validate = add("validate", "check config.yaml and the experiments it names", _validate)
    validate.add_argument("--energies", action="store_true", help="evaluate each energy once")
    validate.add_argument(
        "--elsewhere", action="store_true", help="say how large it is, whatever this machine has"
    )
    results = add("results", "print the folder that results go to", _results)
    for of_project in (validate, results):
        of_project.add_argument("--configfile", type=Path, default=Path("config.yaml"))
        of_project.add_argument(
            "settings", nargs="*", metavar="key=value", help="as snakemake --config"
        )
    verify = add(
        "verify", "compare all files of a results folder with their checksums", commands.run_verify
    )
    verify.add_argument("folder", type=Path, help="results")
    verify.add_argument("--chunks", action="store_true", help="read every chunk of every store")
    verify.add_argument(
        "--withdraw", action="store_true", help="let the next run make again what is damaged"
    )
    listed = add("list", "list the experiments, with their references and flows", _list)
    listed.add_argument(
        "--paper", action="store_true", help="check workflow/paper.yaml; its experiments in a line"
    )
    new = add("new", "write a commented potential file and its experiment file", _new)
    new.add_argument("name", help="e.g. my_energy")
    new.add_argument("--folder", type=Path, default=Path())
    schema = add("schema", "write the JSON schemas of the configuration", _schema)
    schema.add_argument("folder", type=Path)

    def add_stage(name: str, what: str, command: Callable[[argparse.Namespace], None]) -> _Parser:
        stage = add(name, what, command)
        stage.add_argument("--config", type=Path, required=True, help="results/x/config.json")
        stage.add_argument("--trust", action="store_true", help=_TRUST)
        return stage

    pilot = add_stage("pilot", "suggest a ladder for one reference, on MPI", commands.run_pilot)
    temper = add_stage("temper", "parallel tempering of one reference, on MPI", commands.run_temper)
    for on_mpi in (pilot, temper):
        on_mpi.add_argument("--reference", required=True)
        on_mpi.add_argument("--expect-ranks", type=int, help="stop unless there are so many ranks")
    gather = add_stage(
        "gather", "demultiplex the replicas of a reference into levels", commands.run_gather
    )
    gather.add_argument("--reference", required=True)
    base = add_stage("base", "fit the base to the samples of a reference", commands.run_base)
    base.add_argument("--level", required=True, choices=get_args(LevelOfBase))
    distill = add_stage("distill", "train one level of a flow", commands.run_distill)
    distill.add_argument("--flow", required=True)
    distill.add_argument("--level", type=int, required=True)
    generate = add_stage(
        "generate", "push fresh base samples through a flow", commands.run_generate
    )
    generate.add_argument("--flow", required=True)
    add_stage("truth", "compute exact values", commands.run_truth)
    beads = add_stage("beads", "average over the beads of a path integral", commands.run_beads)
    beads.add_argument("--flow", required=True)
    estimate = add_stage(
        "estimate", "estimate observables, errors, log Z and bias", commands.run_estimate
    )
    source = estimate.add_mutually_exclusive_group(required=True)
    source.add_argument("--reference")
    source.add_argument("--flow")
    frames = add_stage("frames", "write samples of a molecule as PDB and DCD", commands.run_frames)
    frames.add_argument("folder", type=Path, help="for topology.pdb, frames.dcd and frames.csv")
    shown = frames.add_mutually_exclusive_group(required=True)
    shown.add_argument("--reference")
    shown.add_argument("--flow", help="what was generated from it")
    shown.add_argument("--ensemble", metavar="FLOW", help="the weighted ensemble of a flow")
    frames.add_argument("--level", type=int, default=-1, help="not of --flow; by default the last")
    frames.add_argument("--number", type=int, default=1000, help="how many, evenly spaced")
    add_stage("figures", "draw the figures of an experiment", commands.run_figures)
    report = add(
        "report", "collect all experiments on one page and in two tables", commands.run_report
    )
    report.add_argument("--config", type=Path, nargs="+", required=True)
    report.add_argument("--results", type=Path, required=True)
    report.add_argument("--trust", action="store_true", help=_TRUST)
    paper = add(
        "paper", "show the paper's figures and tables under their numbers", commands.run_paper
    )
    paper.add_argument("--results", type=Path, required=True)
    paper.add_argument("--facts", type=Path, default=_PAPER)
    return parser


def _project(options: argparse.Namespace) -> Project:
    return load_project(options.configfile, settings_of(options.settings))


def _validate(options: argparse.Namespace) -> None:
    from jeffreysflow.launch.flow_notes import flow_notes
    from jeffreysflow.launch.ladder_notes import ladder_notes

    project = _project(options)
    experiments = resolve_project(project, Path())
    check_writable(Path(project.results))
    memory = memory_limit_mb()
    for experiment in experiments.values():
        folder = Path(project.results) / experiment.name
        here = () if options.elsewhere else (memory, free_disk_mb(folder))
        size = refuse_what_does_not_fit(experiment, *here)
        if not options.elsewhere:
            _check_devices(experiment)
        if options.energies:
            from jeffreysflow.launch.check import check_experiment

            check_experiment(experiment)
        print(
            f"{experiment.name}: {len(experiment.references)} references, "
            f"{len(experiment.flows)} flows, scale {experiment.scale}, seed {experiment.seed}: ok"
        )
        print(f"  {size}")
        if options.energies:
            from jeffreysflow.launch.sum_notes import sum_notes

            for note in sum_notes(experiment):
                print(f"  {experiment.potential.title}: {note}")
        for reference in experiment.references:
            for note in ladder_notes(experiment, reference):
                print(f"  {reference}: {note}")
        for flow in experiment.flows:
            for note in flow_notes(experiment, flow):
                print(f"  {flow}: {note}")


def _check_devices(experiment: Experiment) -> None:
    """Of references; asking for what is there takes a library that is slow to import."""
    for name, reference in experiment.references.items():
        if isinstance(reference, ReferenceConfig) and reference.device != "cpu":
            from jeffreysflow.launch.rank_device import check_reference_device

            check_reference_device(experiment, name)


def _results(options: argparse.Namespace) -> None:
    print(Path(_project(options).results).absolute())


def _list(options: argparse.Namespace) -> None:
    if options.paper:
        from jeffreysflow.report.paper.checks import experiments_there

        print(",".join(experiments_there(load_paper(_PAPER), Path(), experiment_names(Path()))))
        return
    names = experiment_names(Path())
    if not names:
        raise UserError(
            f"{Path('workflow/experiments').absolute()}: no experiments; the command is for the "
            "folder of a clone"
        )
    for name in names:
        project = Project(experiments=[name])
        experiment = resolve_experiment(experiment_file(name, Path()), project)
        print(f"{name}: {experiment.title}")
        print(f"  references: {', '.join(experiment.references)}")
        print(f"  flows:      {', '.join(experiment.flows)}")


def _new(options: argparse.Namespace) -> None:
    from jeffreysflow.stages.new import write_experiment

    files = write_experiment(options.name, options.folder)
    for file in files:
        print(f"wrote {file}")
    print(f"run it: make run EXPERIMENTS={shlex.quote(str(files[-1]))}")


def _schema(options: argparse.Namespace) -> None:
    for name, schema in schemas().items():
        write_atomically(options.folder / name, json.dumps(schema, indent=2) + "\n")
        print(f"wrote {options.folder / name}")
