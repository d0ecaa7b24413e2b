for name in EXPERIMENTS:

    # a rule an experiment: which figures there are depends on its configuration
    rule:
        name:
            f"figures_{name}"
        input:
            drawn_from(name),
        output:
            figures(name),
        log:
            Layout(RESULTS, name).folder / "logs" / "figures.log",
        threads: 1
        resources:
            mem_mb=memory_mb(EXPERIMENTS[name], "figures"),
            runtime=30,
        params:
            config=str(Layout(RESULTS, name).config),
        shell:
            "python -m jeffreysflow figures --trust --config {params.config:q} 2>&1 | tee {log:q}"


rule report:
    input:
        *(estimates(name) for name in EXPERIMENTS),
        *(figures(name) for name in EXPERIMENTS),
    output:
        page=RESULTS / "report.html",
        summary=report(
            RESULTS / "summary.csv",
            caption="../report/summary.rst",
            category="Summary",
        ),
        costs=RESULTS / "costs.csv",
    log:
        RESULTS / "report.log",
    threads: 1
    resources:
        mem_mb=max(memory_mb(each, "report") for each in EXPERIMENTS.values()),
        runtime=30,
    params:
        configs=[str(Layout(RESULTS, name).config) for name in EXPERIMENTS],
        results=subpath(output.page, parent=True),
        hash=page_hash(EXPERIMENTS.values()),
    shell:
        "python -m jeffreysflow report --trust --config {params.configs:q}"
        " --results {params.results:q} 2>&1 | tee {log:q}"
