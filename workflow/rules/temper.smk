rule pilot:
    output:
        REFERENCE.ladder,
    log:
        LOGS / "pilot_{reference}.log",
    benchmark:
        LOGS / "pilot_{reference}.tsv"
    priority: before_all_levels
    threads: most_ranks("pilot")
    resources:
        mpi=launcher,
        tasks=ranks,
        cpus_per_task=cores_a_rank,
        gpu=tempering_gpus,
        # Slurm is not to bind them: each rank finds its own
        tasks_per_gpu=0,
        lsf_extra=lsf(tempering_gpus),
        mem_mb=memory("pilot"),
        runtime=60,
    params:
        config=CONFIG,
        hash=pilot_hash,
    shell:
        "if [ {resources.tasks} -gt 1 ]; then launch='{resources.mpi} -n {resources.tasks}'; fi;"
        " ${{launch:-}} python -m mpi4py -m jeffreysflow pilot"
        " --trust --config {params.config:q} --reference {wildcards.reference:q}"
        " --expect-ranks {resources.tasks} 2>&1 | tee {log:q}"


# how many levels a flow has is known only after the pilot of its reference; not the pilot itself is
# the checkpoint, or `--until temper` would end with it
checkpoint ladder_known:
    input:
        REFERENCE.ladder,
    output:
        touch(LOGS / "ladder_{reference}.known"),
    priority: before_all_levels
    localrule: True


rule temper:
    input:
        ladder=suggested_ladder,
    output:
        REFERENCE.replicas / "done.json",
    log:
        LOGS / "temper_{reference}.log",
    benchmark:
        LOGS / "temper_{reference}.tsv"
    priority: before_all_levels
    threads: most_ranks("temper")
    resources:
        mpi=launcher,
        tasks=ranks,
        cpus_per_task=cores_a_rank,
        gpu=tempering_gpus,
        # Slurm is not to bind them: each rank finds its own
        tasks_per_gpu=0,
        lsf_extra=lsf(tempering_gpus),
        mem_mb=memory("temper"),
        runtime=120,
    params:
        config=CONFIG,
        hash=reference_hash,
    # a signal that makes it save its checkpoint leaves the log open
    shell:
        "if [ {resources.tasks} -gt 1 ]; then launch='{resources.mpi} -n {resources.tasks}'; fi;"
        " ${{launch:-}} python -m mpi4py -m jeffreysflow temper"
        " --trust --config {params.config:q} --reference {wildcards.reference:q}"
        " --expect-ranks {resources.tasks} 2>&1 | (trap '' TERM USR1; exec tee {log:q})"
