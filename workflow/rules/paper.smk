# No part of the default target, since it asks for other experiments. Both pages are asked for: one of
# the paper may have been made by hand before the run was at its end.
rule paper:
    input:
        page_and_summary,
        RESULTS / "paper.html",
    localrule: True


rule paper_page:
    input:
        RESULTS / "report.html",
        facts=Path(workflow.basedir) / "workflow" / "paper.yaml",
    output:
        RESULTS / "paper.html",
    log:
        RESULTS / "paper.log",
    threads: 1
    resources:
        mem_mb=max(memory_mb(each, "report") for each in EXPERIMENTS.values()),
        runtime=30,
    params:
        results=subpath(output[0], parent=True),
    shell:
        "python -m jeffreysflow paper --results {params.results:q} --facts {input.facts:q} 2>&1 | tee {log:q}"
