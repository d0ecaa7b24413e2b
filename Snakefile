# Parallel tempering -> levels -> flows -> estimates -> report. One file a stage in workflow/rules.
import sys

from snakemake.utils import min_version

# Snakemake searches this folder first, but a file here must not shadow a module
sys.path.sort(key=str(workflow.basedir).__eq__)

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/temper.smk"
include: "workflow/rules/gather.smk"
include: "workflow/rules/distill.smk"
include: "workflow/rules/estimate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/paper.smk"


report: "workflow/report/workflow.rst"


onstart:
    lift_the_usual_limit_of_jobs_a_second()
    if workflow.local_exec:
        check_that_it_fits()
        stop_jobs_when_told_to()
    write_resolved_configs()


rule all:
    default_target: True
    input:
        page_and_summary,
    localrule: True
