# Two hosts: network namespaces joined by a pair of virtual interfaces, and ssh between them.
. "$(dirname "$0")/lib.sh"
tag=jf$$
mkdir -p /run/sshd
close() {
    for side in a b; do
        [ ! -e "$WORK/sshd_$side.pid" ] || kill "$(cat "$WORK/sshd_$side.pid")" || true
        ip netns del "$tag$side" 2>/dev/null || true
    done
}
trap close EXIT
ip netns add ${tag}a
ip netns add ${tag}b
ip link add ${tag}va netns ${tag}a type veth peer name ${tag}vb netns ${tag}b
ssh-keygen -q -t ed25519 -N "" -f "$WORK/key"
ssh-keygen -q -t ed25519 -N "" -f "$WORK/host"
number=0
for side in a b; do
    number=$((number + 1))
    ip -n $tag$side addr add 10.213.97.$number/24 dev ${tag}v$side
    ip -n $tag$side link set ${tag}v$side up
    ip -n $tag$side link set lo up
    cat >"$WORK/sshd_$side" <<END
HostKey $WORK/host
AuthorizedKeysFile $WORK/key.pub
PidFile $WORK/sshd_$side.pid
ListenAddress 10.213.97.$number
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PermitUserEnvironment no
END
    ip netns exec $tag$side unshare --uts sh -c "hostname host-$side; exec $(command -v sshd) -f '$WORK/sshd_$side'"
    wait_for 20 test -s "$WORK/sshd_$side.pid"
done
cat >"$WORK/ssh" <<END
#!/bin/sh
exec ssh -i '$WORK/key' -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "\$@"
END
chmod +x "$WORK/ssh"
over_both="ip netns exec ${tag}a mpiexec -localhost 10.213.97.1 -launcher ssh -launcher-exec $WORK/ssh
    -hosts 10.213.97.1,10.213.97.2 -ppn 1"
for ranks in 2 3; do
    where=$($over_both -n 2 hostname | sort | tr '\n' ' ')
    echo "ranks on: $where"
    case $where in *host-b*) ;; *) fail "no rank on the second host" ;; esac
    temper $ranks $over_both -n $ranks
done
rest
