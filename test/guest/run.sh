#!/bin/bash
# By hand, as root on Debian: boots Debian 12 in qemu with control groups of version 2 alone, lays the built package into
# it and runs limits-check.mjs there; its findings are printed, its exit code is ours. No KVM is needed; without it the
# whole takes about ten minutes. The root file system and the kernel are kept in test/.cache/guest.
#
#   apt-get install -y --no-install-recommends mmdebstrap qemu-system-x86 busybox-static cpio e2fsprogs kmod
#   npm run build && test/guest/run.sh [more words for the kernel's command line]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/test/.cache/guest
work=$(mktemp -d "${TMPDIR:-/tmp}/flopd-guest-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache"
cd "$work"

if [ ! -e "$cache/rootfs.tar" ]; then
  mmdebstrap --mode=root --variant=minbase --include=systemd-sysv,dbus,procps,kmod,udev,libstdc++6,bubblewrap \
    --aptopt='APT::Install-Recommends "0"' bookworm making.tar
  mv making.tar "$cache/rootfs.tar"
fi
if [ ! -e "$cache/kernel" ]; then
  package=$(apt-cache search '^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' | sort -V | tail -1 | cut -d' ' -f1)
  (mkdir deb && cd deb && apt-get download "$package" && dpkg-deb -x ./*.deb . && rm ./*.deb)
  mv deb "$cache/kernel"
fi
version=$(ls "$cache/kernel/lib/modules")
modules=$cache/kernel/lib/modules/$version/kernel/drivers

# The root: Debian, Node, the package and its units as systemd/README.md says, and the check as a unit.
mkdir -p disk/opt/flopd/native disk/opt/check
tar -C disk -xf "$cache/rootfs.tar"
mkdir -p disk/lib/modules && cp -r "$cache/kernel/lib/modules/$version" disk/lib/modules/
chroot disk depmod "$version"
cp -L "$(command -v node)" disk/usr/local/bin/node
cp -r "$root"/{dist,systemd,package.json} disk/opt/flopd/
cp -r "$root/native/build" disk/opt/flopd/native/
(cd "$root" && node -e '
  const { packages } = JSON.parse(require("fs").readFileSync("package-lock.json", "utf8"));
  for (const [path, { dev, devOptional }] of Object.entries(packages))
    if (path !== "" && !dev && !devOptional && require("fs").existsSync(path)) console.log(path);
' >"$work/packages")
(cd "$root" && tar -cf - -T "$work/packages") | tar -C disk/opt/flopd -xf -
cp "$root/test/guest/limits-check.mjs" disk/opt/check/
ln -s /opt/flopd/dist/flopd.js disk/usr/bin/flopd
cp "$root"/systemd/*.service "$root"/systemd/*.slice disk/usr/lib/systemd/system/
cp "$root/systemd/flopd.sysusers.conf" disk/usr/lib/sysusers.d/flopd.conf
cp "$root/systemd/flopd.tmpfiles.conf" disk/usr/lib/tmpfiles.d/flopd.conf
cat >disk/etc/systemd/system/check.service <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'node /opt/check/limits-check.mjs; echo "exit code $?"'
ExecStopPost=/usr/bin/systemctl --no-block poweroff
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
TimeoutStartSec=infinity
UNIT
mkdir -p disk/etc/systemd/system/multi-user.target.wants
ln -s ../check.service disk/etc/systemd/system/multi-user.target.wants/
rm -f disk/etc/resolv.conf
mke2fs -q -F -t ext4 -d disk disk.img 2400M

# An initrd that finds the disk; the modules in this order.
mkdir -p initrd/bin initrd/newroot initrd/dev
cp "$(command -v busybox)" initrd/bin/
for module in virtio/virtio_ring virtio/virtio virtio/virtio_pci_modern_dev virtio/virtio_pci_legacy_dev \
  virtio/virtio_pci block/virtio_blk; do
  cp "$modules/$module.ko" initrd/
  echo "/bin/busybox insmod /${module##*/}.ko" >>insert
done
{
  echo '#!/bin/busybox sh'
  echo '/bin/busybox mount -t devtmpfs dev /dev'
  cat insert
  echo 'while [ ! -b /dev/vda ]; do /bin/busybox sleep 0.1; done'
  echo '/bin/busybox mount -t ext4 /dev/vda /newroot'
  echo 'exec /bin/busybox switch_root /newroot /lib/systemd/systemd'
} >initrd/init
chmod 755 initrd/init
(cd initrd && find . | cpio --quiet -o -H newc | gzip -1) >initrd.gz

timeout 3600 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -nodefaults -no-reboot -display none \
  -kernel "$cache/kernel/boot/vmlinuz-$version" -initrd initrd.gz \
  -append "quiet panic=-1 systemd.unified_cgroup_hierarchy=1 mitigations=off nokaslr ${*}" \
  -drive file=disk.img,if=virtio,format=raw,cache=unsafe -serial file:console.log -serial stdio </dev/null | tee findings
grep -q '^exit code 0' findings
