rule configure:
    localrule: True
    output:
        LAYOUT.config,
    params:
        resolved=resolved_config,
    log:
        LOGS / "configure.log",
    run:
        Path(output[0]).write_text(params.resolved)
        shell(STAGE + " check --config {output} 2>&1 | tee {log}")
