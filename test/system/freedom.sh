# What any job may count on, one line each: `NAME yes` or `NAME no`. Runs as a job and, beside it, as the same user
# outside the unit: both must say the same (test/system/nspawn.test.ts). With a NAME only that one is tried.
only=${1:-}
says() {
  if [ -n "$only" ] && [ "$only" != "$1" ]; then return; fi
  if sh -c "$2" >/dev/null 2>&1; then echo "$1 yes"; else echo "$1 no"; fi
}
cd "$(mktemp -d)" || exit 1
says user-namespace 'unshare --user --map-root-user --mount --pid --fork true'
says mount-in-namespace 'unshare --user --map-root-user --mount mount -t tmpfs none /mnt'
says own-proc 'unshare --user --map-root-user --mount --pid --fork --mount-proc true'
says own-hostname 'unshare --user --map-root-user --uts hostname nowhere'
says bubblewrap 'bwrap --ro-bind / / --dev /dev --tmpfs /tmp --unshare-all --hostname nowhere true'
says bubblewrap-proc 'bwrap --ro-bind / / --dev /dev --proc /proc --unshare-all true'
says just-in-time 'node -e "let s = 0; for (let i = 0; i < 1e6; i++) s += i"'
says trace-itself 'strace -o trace true && test -s trace'
says fork 'for i in 1 2 3 4 5 6 7 8; do sleep 0.1 & done; wait'
says netlink-socket 'perl -e "socket(my \$s, 16, 3, 0) or exit 1"'
says crypto-socket 'perl -e "socket(my \$s, 38, 5, 0) or exit 1"'
says udp-socket 'perl -e "socket(my \$s, 2, 2, 17) or exit 1"'
says unix-socket 'perl -e "socket(my \$s, 1, 1, 0) or exit 1"'
says personality 'setarch -R true'
says setgid-folder 'mkdir d && chmod g+s d && test -g d'
says write-tmp 'touch /tmp/by-a-job && rm /tmp/by-a-job'
says write-home 'touch /home/open/by-a-job && rm /home/open/by-a-job'
says write-shm 'touch /dev/shm/by-a-job && rm /dev/shm/by-a-job'
says affinity 'taskset 1 true'
says nice 'nice -n 5 true'
says devices 'head -c 1 /dev/urandom && : >/dev/null && test -e /dev/pts'
says kernel-figures 'cat /proc/meminfo /proc/cpuinfo /proc/sys/kernel/osrelease /proc/1/comm'
says see-others 'test -e /proc/1/cmdline'
says write-usr 'touch /usr/by-a-job'
says write-etc 'touch /etc/by-a-job'
says realtime 'chrt -f 1 true'
