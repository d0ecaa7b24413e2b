# Slurm on this node, started by hand; sourced after lib.sh. Partitions `debug` and `tempering`.
slurm=$WORK/daemons   # a folder `slurm` would be taken for a profile
mkdir -p "$slurm/spool" "$slurm/state"
# where Debian's Slurm looks by itself: the plugin hides SLURM_CONF from the jobs
site=/etc/slurm/slurm.conf
[ ! -e $site ] || fail "this machine has a Slurm of its own: $site"
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
cat >"$slurm/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$(hostname)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=pmi2
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$slurm/jobs.txt
MinJobAge=300
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd.pid
SlurmctldLogFile=$slurm/slurmctld.log
SlurmdLogFile=$slurm/slurmd.log
NodeName=localhost NodeHostname=$(hostname) CPUs=2 RealMemory=$memory
PartitionName=debug Nodes=localhost Default=YES MaxTime=INFINITE State=UP
PartitionName=tempering Nodes=localhost MaxTime=INFINITE State=UP
END
touch "$slurm/jobs.txt"
mkdir -p /etc/slurm
ln -sf "$slurm/slurm.conf" $site
close() {
    local file process
    scancel --signal=KILL --full --user=root 2>/dev/null || true
    for file in slurmctld slurmd munged; do
        process=$(cat "$slurm/$file.pid" 2>/dev/null) || continue
        for process in $process $(descendants "$process"); do
            kill "$process" 2>/dev/null || true
        done
    done
    rm -f $site
    sleep 1
}
trap close EXIT
head -c 128 /dev/urandom >"$slurm/munge.key"
chmod 600 "$slurm/munge.key"
munged --force --key-file="$slurm/munge.key" --socket="$slurm/munge.socket" \
    --pid-file="$slurm/munged.pid" --log-file="$slurm/munged.log" --seed-file="$slurm/munge.seed"
slurmctld -c
slurmd -c
node_is_idle() { sinfo --noheader --format=%T | grep -q idle; }
wait_for 60 node_is_idle

# The tempering run in its partition on two ranks, everything else in the other.
on_slurm() {
    workflow --workflow-profile slurm \
        --set-threads temper=2 --set-resources temper:slurm_partition=tempering "$@"
}

# The tempering job, while it runs and has said that its first rounds are done.
running_job() {
    grep -q " rounds (" "$RESULTS/two_wells/logs/temper_tempered.log" 2>/dev/null || return 1
    squeue --noheader --partition=tempering --states=RUNNING --format=%A | grep .
}
