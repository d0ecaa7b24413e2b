# A time limit of a minute ends the tempering job, which has saved its checkpoint; the same command
# with more time goes on from there.
. "$(dirname "$0")/lib.sh"
. "$HERE/slurm.sh"
if CLUSTER_TEST_PAUSE=0.3 on_slurm --until temper --set-resources \
    temper:slurm_partition=tempering temper:runtime=1; then
    fail "the job has met its time limit and the workflow says nothing"
fi
cat "$slurm/jobs.txt"
grep -q JobState=TIMEOUT "$slurm/jobs.txt" || fail "the time limit has not ended the job"
ls "$REPLICAS/checkpoint"
[ ! -e "$REPLICAS/done.json" ] || fail "it has finished"
on_slurm --until temper
grep "resuming at round" "$RESULTS/two_wells/logs/temper_tempered.log" || fail "not resumed"
rest
