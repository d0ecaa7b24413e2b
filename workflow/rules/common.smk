# What the rules share: the resolved experiments and functions of wildcards.
from math import isfinite
from pathlib import Path

from jeffreysflow.config import resolve_project
from jeffreysflow.config.chains import levels_waiting, levels_waiting_for
from jeffreysflow.config.folders import check_writable
from jeffreysflow.config.gpus import gpus_asked
from jeffreysflow.config.loading import project_of
from jeffreysflow.config.memory import memory_mb
from jeffreysflow.config.ranks import ranks_here, useful_ranks
from jeffreysflow.config.size import refuse_what_does_not_fit
from jeffreysflow.config.project import page_hash
from jeffreysflow.errors import UserError
from jeffreysflow.machine import cards, free_disk_mb, memory_limit_mb, torch_has_cuda
from jeffreysflow.processes import stop_jobs_when_told_to
from jeffreysflow.report.figures import figure_names
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.made_otherwise import is_of_another_hash, made_otherwise
from jeffreysflow.stores.layout import Layout, page_usage
from jeffreysflow.stores.sealed import write_sealed
from snakemake.exceptions import WorkflowError

# read here rather than by `configfile:`, which takes the last of two equal keys without a word
FILES = [Path("config.yaml"), *workflow.config_settings.configfiles]

try:
    PROJECT = project_of(
        [file for file in FILES if file.exists()] or FILES[:1],
        workflow.config_settings.config,
    )
    EXPERIMENTS = resolve_project(PROJECT, Path(workflow.basedir))
    for each in EXPERIMENTS.values():
        refuse_what_does_not_fit(each)
    check_writable(Path(PROJECT.results))
except UserError as error:
    raise WorkflowError(str(error))

RESULTS = Path(PROJECT.results)
LAYOUT = Layout(RESULTS, "{experiment}")
REFERENCE = LAYOUT.reference("{reference}")
FLOW = LAYOUT.flow("{flow}")
LOGS = LAYOUT.folder / "logs"
# a parameter, not an input: what depends on which part of it is told by the hashes
CONFIG = str(LAYOUT.config)

# jobs that are submitted, and the Snakemake inside of one, ask for what this machine need not have
ELSEWHERE = workflow.remote_exec or workflow.resource_settings.nodes is not None
GPUS_WANTED = PROJECT.device == "cuda" or any(
    getattr(reference, "device", "cpu") == "cuda"
    for experiment in EXPERIMENTS.values()
    for reference in experiment.references.values()
)
ON_GPUS = GPUS_WANTED or PROJECT.device != "cpu"
MOST_RANKS_HERE = ranks_here(EXPERIMENTS.values(), workflow.cores or 1)
CARDS = None if ELSEWHERE or not ON_GPUS else len(cards())
if CARDS and not GPUS_WANTED and not torch_has_cuda():
    CARDS = 0
if CARDS:
    if "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", CARDS)
    CARDS = min(CARDS, workflow.global_resources.get("gpu").value)

# jobs that run side by side share the memory of this machine
MEMORY_MB = memory_limit_mb()
if not ELSEWHERE and "mem_mb" not in workflow.global_resources and isfinite(MEMORY_MB):
    workflow.register_resource("mem_mb", int(MEMORY_MB))

# Snakemake exports {threads} as the thread count of numerical libraries; a stage sets its own.
# A prefix replaces Snakemake's own, without which a stage that fails before `| tee` seems to succeed
shell.prefix(
    "set -euo pipefail; export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1"
    " PYTHONSAFEPATH=1 JEFFREYSFLOW_PARENT=$PPID@$HOSTNAME; "
)


wildcard_constraints:
    experiment="[^/]+",
    reference="[^/]+",
    flow="[^/]+",
    k="[0-9]+",
    level="first|last",


def write_resolved_configs():
    """Leave the resolved configuration of every experiment where the stages look for it."""
    for name, experiment in EXPERIMENTS.items():
        text = experiment.model_dump_json(indent=2)
        write_sealed(Layout(RESULTS, name).config, text)


def check_that_it_fits():
    """Refuse what this machine has no room for."""
    try:
        for name, experiment in EXPERIMENTS.items():
            here = MEMORY_MB, free_disk_mb(Layout(RESULTS, name).folder)
            refuse_what_does_not_fit(experiment, *here)
    except UserError as error:
        raise WorkflowError(str(error))


def experiment_of(wildcards):
    return EXPERIMENTS[wildcards.experiment]


def reference_hash(wildcards):
    return experiment_of(wildcards).reference_hash(wildcards.reference)


def pilot_hash(wildcards):
    return experiment_of(wildcards).pilot_hash(wildcards.reference)


def flow_hash(wildcards):
    return experiment_of(wildcards).flow_hash(wildcards.flow)


def base_hash(wildcards):
    return experiment_of(wildcards).base_hash(wildcards.level)


def generation_hash(wildcards):
    return experiment_of(wildcards).generation_hash(wildcards.flow)


def truth_hash(wildcards):
    return experiment_of(wildcards).truth_hash()


def bead_hash(wildcards):
    return experiment_of(wildcards).bead_hash(wildcards.flow)


def estimate_hash(wildcards):
    return experiment_of(wildcards).estimate_hash()


def cores_a_rank(wildcards, threads=None):
    """A rank, or a training, waits while processes evaluate energies for it."""
    return experiment_of(wildcards).potential.workers


def ranks(wildcards, threads):
    return max(1, threads // cores_a_rank(wildcards))


def most_ranks(stage):
    """As many as a tempering run has tiles, or GPUs; Snakemake takes no more than there are cores."""

    def most(wildcards):
        experiment, name = experiment_of(wildcards), wildcards.reference
        ranks = useful_ranks(experiment, stage, name, CARDS)
        shared = not ELSEWHERE and experiment.tempering(name).device == "cpu"
        return cores_a_rank(wildcards) * (
            min(ranks, MOST_RANKS_HERE) if shared else ranks
        )

    return most


def launcher(wildcards, threads):
    """None for one rank, for which some batch systems refuse one."""
    return "mpiexec" if ranks(wildcards, threads) > 1 else ""


def memory(stage):
    """What a stage may need, from the sizes of its experiment: a function for `mem_mb`."""

    def mem_mb(wildcards, threads):
        source = (
            wildcards.get("reference")
            or wildcards.get("flow")
            or wildcards.get("level")
            or ""
        )
        at_once = ranks(wildcards, threads) if stage in ("pilot", "temper") else 1
        return memory_mb(experiment_of(wildcards), stage, source, at_once)

    return mem_mb


def suggested_ladder(wildcards):
    """What a reference's pilot suggests, where it has one."""
    ladder = experiment_of(wildcards).tempering(wildcards.reference).ladder
    files = Layout(RESULTS, wildcards.experiment).reference(wildcards.reference)
    return [files.ladder] if ladder.kind == "suggested" else []


def gathered_from(wildcards):
    """The replicas of a tempering run. Of imported samples the hash knows the content."""
    reference = experiment_of(wildcards).reference(wildcards.reference)
    files = Layout(RESULTS, wildcards.experiment).reference(wildcards.reference)
    return [files.replicas / "done.json"] if reference.kind == "tempering" else []


def levels_of_base(wildcards):
    """The samples that the base is fitted to."""
    reference = experiment_of(wildcards).base_reference
    layout = Layout(RESULTS, wildcards.experiment)
    return [layout.reference(reference).levels / "done.json"]


def base_at_hottest(wildcards):
    """The base that is fitted to the first level of a reference, where there is one."""
    if not experiment_of(wildcards).base_is_at_hottest(wildcards.reference):
        return []
    return [Layout(RESULTS, wildcards.experiment).base("first") / "done.json"]


def base_of_flow(wildcards):
    """The fitted base that a flow starts from, where there is one."""
    experiment = experiment_of(wildcards)
    if not experiment.base_reference:
        return []
    level = experiment.base_level(wildcards.flow)
    return [Layout(RESULTS, wildcards.experiment).base(level) / "done.json"]


def levels_of_flow(wildcards):
    """What level k of a flow is trained from: a demultiplexed reference, or level k of a flow,
    the last where there is one level only."""
    experiment, layout = experiment_of(wildcards), Layout(RESULTS, wildcards.experiment)
    section = experiment.flow(wildcards.flow)
    base = base_of_flow(wildcards)
    tempered = (
        layout.reference(experiment.tempered(wildcards.flow)).levels / "done.json"
    )
    if section.reference in experiment.references:
        return [tempered, *base]
    levels = levels_done(wildcards.experiment, section.reference)
    return [
        tempered,
        *base,
        levels[-1 if section.levels == "last" else int(wildcards.k) - 1],
    ]


def level_below(wildcards):
    """The level that must be distilled before level k."""
    k = int(wildcards.k)
    flow = Layout(RESULTS, wildcards.experiment).flow(wildcards.flow)
    return [flow.level(k - 1) / "done.json"] if k > 1 else []


def all_levels(wildcards):
    return levels_done(wildcards.experiment, wildcards.flow)


def estimated_from(wildcards):
    """The fresh samples of a flow; where there are none, its levels."""
    if not experiment_of(wildcards).generates(wildcards.flow):
        return all_levels(wildcards)
    flow = Layout(RESULTS, wildcards.experiment).flow(wildcards.flow)
    return [flow.generated / "done.json"]


def levels_done(name, flow):
    """The completion records of all levels of a flow."""
    experiment, layout = EXPERIMENTS[name], Layout(RESULTS, name)
    if experiment.flow_steps(flow) is None:
        # raises what makes Snakemake come back once the pilot has run
        reference = experiment.tempered(flow)
        checkpoints.ladder_known.get(experiment=name, reference=reference)
    steps = flow_steps(layout, experiment, flow)
    return [layout.flow(flow).level(k) / "done.json" for k in range(1, steps + 1)]


def reference_estimates(wildcards):
    """Of every reference: a flow is compared with its own, log Z with one that has it."""
    layout = Layout(RESULTS, wildcards.experiment)
    references = experiment_of(wildcards).references
    return [layout.reference(name).estimates for name in references]


def threads_a_process(wildcards):
    threads = experiment_of(wildcards).flow(wildcards.flow).training.threads
    return max(threads, cores_a_rank(wildcards))


def training_processes(wildcards):
    return experiment_of(wildcards).flow(wildcards.flow).training.processes


def training_threads(wildcards):
    return threads_a_process(wildcards) * training_processes(wildcards)


def minutes_of_a_level(wildcards):
    """The allocation of a sequence is the sum over its levels."""
    return 240 if experiment_of(wildcards).flow(wildcards.flow).levels == "last" else 30


def levels_ahead(wildcards):
    """Priority of a level, or of a reference: how long a chain of levels waits for it."""
    experiment = experiment_of(wildcards)
    if "flow" in wildcards.keys():
        return levels_waiting(experiment, wildcards.flow, int(wildcards.k))
    return levels_waiting_for(experiment, wildcards.reference)


def before_all_levels(wildcards):
    """Priority of a run that asks for many cores, which would wait for the end of chains of levels
    that keep one core each.
    """
    return 1_000 + levels_ahead(wildcards)


def gpus(wildcards, threads):
    """One a flow."""
    return gpus_asked(PROJECT.device, 1, CARDS)


def training_gpus(wildcards, threads):
    """One a process that trains."""
    return gpus_asked(PROJECT.device, training_processes(wildcards), CARDS)


def tempering_gpus(wildcards, threads):
    """One a rank, where the reference lives on GPUs."""
    device = experiment_of(wildcards).tempering(wildcards.reference).device
    return gpus_asked(device, ranks(wildcards, threads), CARDS)


def lsf(gpus):
    """What the plugin for LSF, which knows no GPUs, hands to `bsub`: for `lsf_extra`."""

    def extra(wildcards, threads):
        n = gpus(wildcards, threads)
        return f"-gpu num={n}" if n else ""

    return extra


def estimates(name):
    """The estimates of every reference and flow of one experiment."""
    experiment, layout = EXPERIMENTS[name], Layout(RESULTS, name)
    return [
        *(layout.reference(reference).estimates for reference in experiment.references),
        *(layout.flow(flow).estimates for flow in experiment.flows),
        *bead_tables(name),
    ]


def bead_tables(name):
    """Of a path integral: what each flow that is drawn from says of any number of beads."""
    experiment, layout = EXPERIMENTS[name], Layout(RESULTS, name)
    if experiment.path_integral is None:
        return []
    return [layout.flow(flow).beads for flow in experiment.generating]


def drawn_from(name):
    """What the figures of one experiment are drawn from."""
    experiment, layout = EXPERIMENTS[name], Layout(RESULTS, name)
    return [
        *estimates(name),
        *(
            layout.reference(reference).diagnostics
            for reference in experiment.references
        ),
        *(layout.flow(flow).generated / "done.json" for flow in experiment.generating),
    ]


def figures(name):
    """The figures of one experiment; `snakemake --report` shows each with its caption."""
    files = []
    for figure in figure_names(EXPERIMENTS[name]):
        file = str(Layout(RESULTS, name).figures / figure)
        shown = {"category": name, "labels": {"figure": figure}}
        svg = report(f"{file}.svg", caption=f"../report/{figure}.rst", **shown)
        files += [svg, f"{file}.pdf"]
    return files


def run_again_what_was_made_otherwise():
    """Snakemake knows what it has made in this clone. What another has left in the results folder,
    by other settings, is made again as if it had been asked for with `--forcerun`."""
    for name, experiment in EXPERIMENTS.items():
        for path in made_otherwise(Layout(RESULTS, name), experiment):
            workflow.dag.forcefiles.add(str(path))
    if is_of_another_hash(page_usage(RESULTS), page_hash(EXPERIMENTS.values())):
        workflow.dag.forcefiles.add(str(RESULTS / "report.html"))


def lift_the_usual_limit_of_jobs_a_second():
    """With it Snakemake leaves a timer for each finished job, which looks for jobs to run once a
    second for evermore: after some hundred jobs that takes a core. A limit that was asked for stays.
    """
    limiter = getattr(workflow.scheduler, "job_rate_limiter", None)
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def page_and_summary(wildcards):
    run_again_what_was_made_otherwise()
    # the page of the paper, where there is one, tells of what is in this folder too
    pages = [RESULTS / "report.html", RESULTS / "summary.csv", RESULTS / "paper.html"]
    return [page for page in pages if page.name != "paper.html" or page.exists()]
