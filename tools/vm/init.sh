#!/bin/busybox sh
# First process of the virtual machine of boot.py: the host's root file system, then the command.
b=/bin/busybox
fail() { echo "hipgw-vm: $1"; $b poweroff -f; }
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
cache=$($b cat /cache)
tree=$($b cat /tree)
version=$($b uname -r)
for module in $($b cat /modules); do $b insmod "$module" || echo "hipgw-vm: $module cannot be loaded"; done

# What is written goes to memory; the host's files stay as they are.
$b mount -t tmpfs -o size=60% tmpfs /new
$b mkdir /new/upper /new/work /new/root
$b mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,ro,msize=512000 root /host || fail "no root file system"
$b mount -t overlay -o lowerdir=/host,upperdir=/new/upper,workdir=/new/work overlay /new/root || fail "no overlay"
root=/new/root
for folder in proc sys dev; do $b mount -o move /$folder $root/$folder; done
$b mkdir -p $root/dev/pts $root/dev/shm $root/lib/modules
$b mount -t devpts devpts $root/dev/pts
for folder in dev/shm run tmp; do
    # Only what lies below the folder of the caller is wanted of the host's /tmp.
    [ $folder = tmp ] && case $cache in /tmp/*) continue ;; esac
    $b mount -t tmpfs -o mode=1777 tmpfs $root/$folder
done
$b mount -t tmpfs tmpfs $root/lib/modules
$b ln -s "$tree/lib/modules/$version" $root/lib/modules/$version
$b cp $b $root/run/busybox
$b ln -s busybox $root/run/modprobe
echo /run/modprobe >$root/proc/sys/kernel/modprobe
$b ifconfig lo up
$b cat >$root/run/command <<END
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
/run/busybox hostname vm
/run/busybox modprobe tun
/bin/sh $cache/command </dev/null
/run/busybox echo "hipgw-vm: status \$?"
/run/busybox sync
/run/busybox poweroff -f
END
for folder in $($b cat /copies); do $b mount -o bind /copied$folder $root$folder; done
# Not switch_root, which would delete what was copied.
exec $b chroot $root /run/busybox sh /run/command
