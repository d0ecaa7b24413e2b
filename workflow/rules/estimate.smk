rule truth:
    input:
        config=ancient(LAYOUT.config),
    output:
        LAYOUT.truth,
    params:
        hash=truth_hash,
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    log:
        LOGS / "truth.log",
    shell:
        ONE_THREAD + " " + STAGE + " truth --config {input.config} 2>&1 | tee {log}"


rule estimate_reference:
    input:
        config=ancient(LAYOUT.config),
        truth=LAYOUT.truth,
        levels=REFERENCE.levels / "done.json",
    output:
        REFERENCE.estimates,
    params:
        hash=estimate_hash,
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    log:
        LOGS / "estimate_reference_{reference}.log",
    shell:
        ONE_THREAD + " " + STAGE + " estimate --config {input.config}"
        " --reference {wildcards.reference} 2>&1 | tee {log}"


rule estimate_flow:
    input:
        config=ancient(LAYOUT.config),
        truth=LAYOUT.truth,
        generated=FLOW.generated / "done.json",
    output:
        FLOW.estimates,
    params:
        hash=estimate_hash,
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    log:
        LOGS / "estimate_flow_{flow}.log",
    shell:
        ONE_THREAD + " " + STAGE + " estimate --config {input.config} --flow {wildcards.flow}"
        " 2>&1 | tee {log}"
