#!/bb/sh
# The first process in the machine: mounts what is shared with it, runs the tests and switches the
# machine off. The file /shares says where the checkout and the interpreter are mounted.
export PATH=/bb

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp

while read -r module; do
    insmod "/modules/$module" || echo "init: $module is not loaded"
done </modules/order

share() { mkdir -p "$2" && mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2"; }

share usr /usr ro,cache=loose || poweroff -f
share out /out rw,cache=none || poweroff -f
share state /var/lib/cni rw,cache=none || poweroff -f
while read -r tag path; do
    share "$tag" "$path" ro,cache=loose || poweroff -f
done </shares

export PATH=/usr/sbin:/usr/bin:/bb HOME=/root LANG=C.UTF-8
/bb/sh /out/run >/out/log 2>&1
sync
poweroff -f
