rule base:
    input:
        levels_of_base,
    output:
        LAYOUT.base("{level}") / "done.json",
    log:
        LOGS / "base_{level}.log",
    benchmark:
        LOGS / "base_{level}.tsv"
    threads: 1
    resources:
        mem_mb=memory("base"),
        runtime=30,
    params:
        config=CONFIG,
        hash=base_hash,
    shell:
        "python -m jeffreysflow base --trust --config {params.config:q} --level {wildcards.level:q} 2>&1 | tee {log:q}"


rule distill:
    input:
        levels=levels_of_flow,
        below=level_below,
    output:
        FLOW.level("{k}") / "done.json",
    log:
        LOGS / "distill_{flow}_{k}.log",
    benchmark:
        LOGS / "distill_{flow}_{k}.tsv"
    priority: levels_ahead
    # the levels of a flow wait for each other: on a cluster they share one allocation
    group:
        "{experiment}@{flow}"
    threads: training_threads
    resources:
        gpu=training_gpus,
        lsf_extra=lsf(training_gpus),
        mem_mb=memory("distill"),
        runtime=minutes_of_a_level,
    params:
        config=CONFIG,
        hash=flow_hash,
    # a signal that makes it save its training leaves the log open
    shell:
        "python -m jeffreysflow distill --trust --config {params.config:q} --flow {wildcards.flow:q} --level {wildcards.k:q}"
        " 2>&1 | (trap '' TERM USR1; exec tee {log:q})"


rule generate:
    input:
        levels=all_levels,
    output:
        FLOW.generated / "done.json",
    log:
        LOGS / "generate_{flow}.log",
    benchmark:
        LOGS / "generate_{flow}.tsv"
    threads: threads_a_process
    resources:
        gpu=gpus,
        lsf_extra=lsf(gpus),
        mem_mb=memory("generate"),
        runtime=120,
    params:
        config=CONFIG,
        hash=generation_hash,
    shell:
        "python -m jeffreysflow generate --trust --config {params.config:q} --flow {wildcards.flow:q} 2>&1 | tee {log:q}"
