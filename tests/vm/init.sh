#!/bb/sh
# The first process in the machine: mounts what is shared with it, runs the tests and switches the
# machine off. The file /shares says where the checkout and the interpreter are mounted.
export PATH=/bb

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp

# A new address is tentative for this long, in which every test would wait.
echo 50 >/proc/sys/net/ipv6/neigh/default/retrans_time_ms

while read -r module; do
    insmod "/modules/$module" || echo "init: $module is not loaded"
done </modules/order

share() { mkdir -p "$2" && mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2"; }

# What is in memory covers what is on the share.
share_below() {
    share "$1" "$2" ro,cache=loose || poweroff -f
    [ ! -d "/hot$2" ] || mount -t overlay -o "ro,lowerdir=/hot$2:$2" overlay "$2" ||
        echo "init: $2 is slow"
}

share_below usr /usr
share out /out rw,cache=none || poweroff -f
share state /state rw,cache=none || poweroff -f
while read -r tag path; do
    share_below "$tag" "$path"
done </shares

export PATH=/usr/sbin:/usr/bin:/bb HOME=/root LANG=C.UTF-8
cp -a /state/. /var/lib/cni
/bb/sh /out/run >/out/log 2>&1
sync
poweroff -f
