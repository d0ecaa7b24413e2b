rule configure:
    output:
        LAYOUT.config,
    log:
        LOGS / "configure.log",
    localrule: True
    params:
        resolved=resolved_config,
    run:
        Path(output[0]).write_text(params.resolved)
        shell("python -m jeffreysflow check --config {output} 2>&1 | tee {log}")
