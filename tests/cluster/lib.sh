# What the scenarios share. `run.sh` sets ROOT (the clone), WORK (a new folder), REFERENCE (a run of
# all stages in one process) and PATH (the environment's programs first).
set -euo pipefail
HERE=$ROOT/tests/cluster
RESULTS=$WORK/results
CONFIG=$RESULTS/two_wells/config.json
REPLICAS=$RESULTS/two_wells/references/tempered/replicas
export OMP_NUM_THREADS=1

fail() {
    echo "FAILED: $*"
    exit 1
}

# A workflow on the experiment, in $WORK; more options follow.
workflow() {
    echo "experiments: ['$HERE/two_wells.yaml']" >"$WORK/config.yaml"
    (cd "$WORK" && snakemake --snakefile "$ROOT/Snakefile" "$@")
}

# temper RANKS LAUNCHER...: the tempering run alone, through a launcher; the same bits so far.
temper() {
    ranks=$1
    shift
    rm -rf "$RESULTS"
    python "$HERE/small.py" configure "$RESULTS"
    "$@" python -m mpi4py -m jeffreysflow temper --trust --config "$CONFIG" \
        --reference tempered --expect-ranks "$ranks"
    grep -q "\"ranks\": $ranks" "$REPLICAS/done.json" || fail "not on $ranks ranks"
    python "$HERE/small.py" same "$RESULTS" "$REFERENCE" references/tempered/replicas
}

# What is missing, in one process; the same bits in all files.
rest() {
    python "$HERE/small.py" stages "$RESULTS"
    same_bits
}

same_bits() {
    python "$HERE/small.py" same "$RESULTS" "$REFERENCE"
}

# plugin MODULE PACKAGE: a plugin of Snakemake that may not be in the environment, for this scenario.
plugin() {
    python -c "import $1" 2>/dev/null && return
    python -m pip install --quiet --disable-pip-version-check --no-deps --target "$WORK/plugin" "$2"
    export PYTHONPATH=$PYTHONPATH:$WORK/plugin
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || fail "waited in vain for: $*"
        sleep 0.5
    done
}

# All processes that a process has started, and they.
descendants() {
    local child
    for child in $(pgrep -P "$1"); do
        echo "$child"
        descendants "$child"
    done
}
