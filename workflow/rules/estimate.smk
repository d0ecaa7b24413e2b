rule truth:
    output:
        LAYOUT.truth,
    log:
        LOGS / "truth.log",
    threads: 1
    resources:
        mem_mb=memory("truth"),
        runtime=30,
    params:
        config=CONFIG,
        hash=truth_hash,
    shell:
        "python -m jeffreysflow truth --trust --config {params.config:q} 2>&1 | tee {log:q}"


rule estimate_reference:
    input:
        truth=LAYOUT.truth,
        levels=REFERENCE.levels / "done.json",
        diagnostics=REFERENCE.diagnostics,
        base=base_at_hottest,
    output:
        REFERENCE.estimates,
    log:
        LOGS / "estimate_reference_{reference}.log",
    threads: 1
    resources:
        mem_mb=memory("estimate"),
        runtime=30,
    params:
        config=CONFIG,
        hash=estimate_hash,
    shell:
        "python -m jeffreysflow estimate --trust --config {params.config:q}"
        " --reference {wildcards.reference:q} 2>&1 | tee {log:q}"


rule estimate_flow:
    input:
        truth=LAYOUT.truth,
        samples=estimated_from,
        references=reference_estimates,
    output:
        FLOW.estimates,
    log:
        LOGS / "estimate_flow_{flow}.log",
    threads: 1
    resources:
        mem_mb=memory("estimate"),
        runtime=30,
    params:
        config=CONFIG,
        hash=estimate_hash,
    shell:
        "python -m jeffreysflow estimate --trust --config {params.config:q} --flow {wildcards.flow:q}"
        " 2>&1 | tee {log:q}"


rule beads:
    input:
        truth=LAYOUT.truth,
        generated=FLOW.generated / "done.json",
    output:
        FLOW.beads,
    log:
        LOGS / "beads_{flow}.log",
    benchmark:
        LOGS / "beads_{flow}.tsv"
    threads: 1
    resources:
        mem_mb=memory("beads"),
        runtime=60,
    params:
        config=CONFIG,
        hash=bead_hash,
    shell:
        "python -m jeffreysflow beads --trust --config {params.config:q} --flow {wildcards.flow:q} 2>&1 | tee {log:q}"
