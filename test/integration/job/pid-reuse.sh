# Runs as the first process of a PID namespace, which says what number comes next: a job, its shim and its agent are killed, a
# stranger gets the number of the job, and the next agent settles the job. Prints the pid, the result and what became of
# the stranger. Arguments: node, bundle of agent-process.ts, folder, shim, addon, the order as JSON.
set -eu
node=$1 entry=$2 folder=$3 shim=$4 addon=$5 order=$6
wait_for() { # PATTERN FILE
	tries=0
	until grep -q "$1" "$2"; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || { echo "never came: $1"; exit 1; }
		sleep 0.05
	done
}
mkfifo "$folder/orders"
: >"$folder/first"
"$node" "$entry" "$folder" "$shim" "$addon" - 1 <"$folder/orders" >"$folder/first" &
agent=$!
exec 3>"$folder/orders"
echo "$order" >&3
wait_for '"kind":"started"' "$folder/first"
pid=$(sed -n 's/.*"kind":"started".*"pid":\([0-9]*\).*/\1/p' "$folder/first")
# All at once, so that nobody is left who could settle it.
others=
for exe in /proc/[0-9]*/exe; do
	case $(readlink "$exe" 2>/dev/null) in */flopd-shim) others="$others $(echo "$exe" | cut -d/ -f3)" ;; esac
done
kill -9 "$agent" $others
exec 3>&-
wait "$agent" 2>/dev/null || true
tries=0
while [ -e "/proc/$pid" ] && [ "$tries" -lt 400 ]; do sleep 0.05; tries=$((tries + 1)); done
[ ! -e "/proc/$pid" ] || { echo "the job outlived its shim"; exit 1; }
stranger=
for _ in $(seq 1 200); do
	echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid
	sleep 1000 &
	stranger=$!
	[ "$stranger" != "$pid" ] || break
	kill -9 "$stranger"
	wait "$stranger" 2>/dev/null || true
done
[ "$stranger" = "$pid" ] || { echo "the number $pid did not come again"; exit 1; }
: >"$folder/second"
mkfifo "$folder/more"
"$node" "$entry" "$folder" "$shim" "$addon" - 1 <"$folder/more" >"$folder/second" &
exec 3>"$folder/more"
wait_for '"kind":"ended"' "$folder/second"
# Whatever the new shim does to what it takes for its own, it does before the end is told.
if kill -0 "$stranger" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$stranger/status"; then echo "stranger alive"; else echo "stranger killed"; fi
grep '"kind":"ended"' "$folder/second"
