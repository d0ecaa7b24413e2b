# scancel ends the tempering job half-way; the same command again.
. "$(dirname "$0")/lib.sh"
. "$HERE/slurm.sh"
CLUSTER_TEST_PAUSE=0.3 on_slurm --until temper >"$WORK/first.log" 2>&1 &
first=$!
wait_for 120 running_job
job=$(running_job)
scancel "$job"
if wait $first; then
    fail "the job was cancelled and the workflow says nothing"
fi
cat "$WORK/first.log" "$slurm/jobs.txt"
grep -q JobState=CANCELLED "$slurm/jobs.txt" || fail "not cancelled"
ls "$REPLICAS/checkpoint"
on_slurm --until temper
grep "resuming at round" "$RESULTS/two_wells/logs/temper_tempered.log" || fail "not resumed"
rest
