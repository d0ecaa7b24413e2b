#!/usr/bin/env bash
# run.sh [SCENARIO...]: run the scenarios (all of scenario_*.sh), a line each. As root, on Debian 12;
# installs what is missing of Debian's packages. Exits with 1 if one fails; its log is printed.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "make cluster-test wants to be root: it starts daemons"; exit 2; }
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
export ROOT PATH=$ROOT/.venv/bin:$PATH:/usr/sbin PYTHONPATH=$ROOT/src
packages="slurm-wlm munge openmpi-bin libopenmpi3 mpich libmpich12 openssh-server iproute2 procps"
for package in $packages; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="${missing:-} $package"
done
if [ -n "${missing:-}" ]; then
    echo "installing$missing"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $missing >/dev/null
fi
TOP=$(mktemp -d)
export REFERENCE=$TOP/reference
# what a scenario has started and left names its folder
clean() {
    local left
    left=$(pgrep -f "$TOP/" || true)
    [ -z "$left" ] || kill -9 $left 2>/dev/null || true
    rm -rf "$TOP"
}
trap clean EXIT
trap 'exit 130' INT TERM
printf '%-12s' reference
start=$(date +%s)
python "$ROOT/tests/cluster/small.py" configure "$REFERENCE"
python "$ROOT/tests/cluster/small.py" stages "$REFERENCE"
printf '%-7s%4d s\n' made $(($(date +%s) - start))
failed=0
[ $# -gt 0 ] || set -- $(cd "$ROOT/tests/cluster" && ls scenario_*.sh | sed 's/scenario_\(.*\)\.sh/\1/')
for name in "$@"; do
    export WORK=$TOP/$name
    mkdir -p "$WORK"
    printf '%-12s' "$name"
    start=$(date +%s)
    result=ok
    timeout --kill-after=20 900 bash "$ROOT/tests/cluster/scenario_$name.sh" >"$TOP/$name.log" 2>&1 \
        || result=FAILED
    printf '%-7s%4d s\n' $result $(($(date +%s) - start))
    if [ $result = FAILED ]; then
        failed=1
        tail -n "${LINES_OF_A_LOG:-60}" "$TOP/$name.log" | sed 's/^/    /'
    fi
done
exit $failed
