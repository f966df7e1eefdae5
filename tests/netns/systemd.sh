# Runs systemd as process 1 of namespaces of its own, within those of the caller.
#
#   systemd.sh HIERARCHY UNITS     the kind of its control groups, and the folder of all its units
#
# It ends with the process that waits for it.  Its /run and its network are those of the caller.
set -eu
exec unshare --mount --pid --cgroup --fork --kill-child --mount-proc sh -eu -c '
mkdir -p /sys/fs/cgroup
mount -t tmpfs tmpfs /sys/fs/cgroup
case $1 in
named)
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    ;;
unified) mount -t cgroup2 cgroup /sys/fs/cgroup ;;
esac
mount --bind "$2" /usr/lib/systemd/system
mount -t tmpfs tmpfs /etc/systemd
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --system --unit=node.target \
    --log-target=console --show-status=0 --log-color=0
' sh "$@"
