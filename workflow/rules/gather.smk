rule gather:
    input:
        gathered_from,
    output:
        levels=REFERENCE.levels / "done.json",
        diagnostics=REFERENCE.diagnostics,
    log:
        LOGS / "gather_{reference}.log",
    benchmark:
        LOGS / "gather_{reference}.tsv"
    priority: levels_ahead
    threads: 1
    resources:
        mem_mb=memory("gather"),
        runtime=60,
    params:
        config=CONFIG,
        hash=reference_hash,
    shell:
        "python -m jeffreysflow gather --trust --config {params.config:q}"
        " --reference {wildcards.reference:q} 2>&1 | tee {log:q}"
