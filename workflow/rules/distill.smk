rule distill:
    input:
        config=ancient(LAYOUT.config),
        levels=levels_of_flow,
        below=level_below,
    output:
        FLOW.level("{k}") / "done.json",
    params:
        hash=flow_hash,
    threads: training_threads
    resources:
        gpu=gpus,
        mem_mb=2000,
        runtime=240,
    log:
        LOGS / "distill_{flow}_{k}.log",
    benchmark:
        LOGS / "distill_{flow}_{k}.tsv"
    shell:
        STAGE + " distill --config {input.config} --flow {wildcards.flow} --level {wildcards.k}"
        " 2>&1 | tee {log}"


rule generate:
    input:
        config=ancient(LAYOUT.config),
        levels=all_levels,
    output:
        FLOW.generated / "done.json",
    params:
        hash=generation_hash,
    threads: training_threads
    resources:
        gpu=gpus,
        mem_mb=2000,
        runtime=120,
    log:
        LOGS / "generate_{flow}.log",
    benchmark:
        LOGS / "generate_{flow}.tsv"
    shell:
        STAGE + " generate --config {input.config} --flow {wildcards.flow} 2>&1 | tee {log}"
