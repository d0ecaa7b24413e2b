# The whole workflow through Slurm: tempering in one partition, the rest in the other.
. "$(dirname "$0")/lib.sh"
. "$HERE/slurm.sh"
on_slurm
cat "$slurm/jobs.txt"
[ "$(grep -c Partition=tempering "$slurm/jobs.txt")" = 1 ] || fail "tempering was not one job"
grep -q Partition=debug "$slurm/jobs.txt" || fail "no job in the other partition"
grep -q '"ranks": 2' "$REPLICAS/done.json" || fail "not on two ranks"
same_bits
