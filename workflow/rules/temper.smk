rule temper:
    input:
        config=ancient(LAYOUT.config),
    output:
        REFERENCE.replicas / "done.json",
    log:
        LOGS / "temper_{reference}.log",
    benchmark:
        LOGS / "temper_{reference}.tsv"
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=ranks,
        cpus_per_task=1,
        mem_mb=2000,
        runtime=120,
    params:
        hash=reference_hash,
        launcher=launcher,
    shell:
        "{params.launcher} python -m mpi4py -m jeffreysflow temper"
        " --config {input.config} --reference {wildcards.reference}"
        " --expect-ranks {resources.tasks} 2>&1 | tee {log}"
