#!/bin/sh
# status.sh JOB: running, success or failed, as Snakemake asks. A server without a job history
# forgets a job that has ended: then Snakemake looks for its output.
said=$(qstat -x -f "$1" 2>/dev/null)
case $? in
    0) ;;
    153) echo success && exit ;;  # unknown job
    *) echo running && exit ;;    # the server does not answer: ask again
esac
case $(printf '%s\n' "$said" | sed -n 's/^ *job_state = //p') in
    F | X)
        case $(printf '%s\n' "$said" | sed -n 's/^ *Exit_status = //p') in
            0) echo success ;;
            *) echo failed ;;
        esac
        ;;
    *) echo running ;;
esac
