# The profile `pbs` with a stand-in for PBS: the whole workflow; before it, a walltime of a minute.
. "$(dirname "$0")/lib.sh"
export PATH=$HERE/pbs:$PATH PBS_STAND_IN=$WORK/jobs
plugin snakemake_executor_plugin_cluster_generic 'snakemake-executor-plugin-cluster-generic>=1.0.9,<2'
on_pbs() {
    workflow --workflow-profile pbs --set-threads temper=2 "$@"
}
if CLUSTER_TEST_PAUSE=0.3 on_pbs --until temper --set-resources temper:runtime=1; then
    fail "the job has met its walltime and the workflow says nothing"
fi
ls "$REPLICAS/checkpoint"
on_pbs
cat "$PBS_STAND_IN/requests.txt"
grep "resuming at round" "$RESULTS/two_wells/logs/temper_tempered.log" || fail "not resumed"
grep -q "ncpus=2:mpiprocs=2:mem=[0-9]*mb:ngpus=0 -l walltime=7200 " "$PBS_STAND_IN/requests.txt" \
    || fail "the tempering run has not asked for two ranks and two hours"
same_bits
