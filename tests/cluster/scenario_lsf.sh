# The profile `lsf`: what the plugin asks of `bsub`, which is a stand-in that refuses. No job runs.
. "$(dirname "$0")/lib.sh"
export PATH=$HERE/lsf:$PATH LSF_STAND_IN=$WORK/stand_in
mkdir -p "$LSF_STAND_IN/lsbatch/test/configdir"
touch "$LSF_STAND_IN/lsbatch/test/configdir/lsb.params"
plugin snakemake_executor_plugin_lsf 'snakemake-executor-plugin-lsf>=0.3.3,<0.4'
refused() {
    if workflow --workflow-profile lsf "$@"; then
        fail "the job was refused and the workflow says nothing"
    fi
    tail -n 1 "$LSF_STAND_IN/requests.txt" | grep -oE -- '-env all .* -cwd'
}
refused --until temper | tee "$WORK/temper"
grep -E -- "-q normal -W 120 -n 3 -R rusage\[mem=[0-9.]+\] -R span\[ptile=3\] -cwd" "$WORK/temper"
# the levels of a flow are one job: 30 minutes a level
rm -rf "$RESULTS"
cp -a "$REFERENCE" "$RESULTS"
refused --config device=cuda --forcerun distill | tee "$WORK/distill"
grep -E -- "-W 60 -n 1 -R rusage\[mem=[0-9.]+\] -R span\[hosts=1\] -gpu num=1 -cwd" "$WORK/distill"
