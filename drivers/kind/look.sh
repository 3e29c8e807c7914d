# What the kernel says of the container whose ID is $1.
set -eu
root=/sys/fs/cgroup
find_in() { find "$1/" -type d -name "*$id*" -print -quit 2>/dev/null || true; }
states() {
	printf processes
	for pid in $(cat "$1/cgroup.procs"); do
		printf ' %s' "$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null || true)"
	done
	echo
}
id=$1
if [ -e $root/cgroup.controllers ]; then
	dir=$(find_in $root)
	[ -n "$dir" ] || { echo ended; exit 0; }
	sed -n '/^frozen /p' "$dir/cgroup.events"
	echo "quota $(cat "$dir/cpu.max")"
	sed -n '/^throttled_usec /p' "$dir/cpu.stat"
	states "$dir"
else
	freezer=$(find_in $root/freezer)
	cpu=$(find_in $root/cpu)
	[ -n "$freezer" ] && [ -n "$cpu" ] || { echo ended; exit 0; }
	echo "frozen $(cat "$freezer/freezer.state")"
	echo "quota $(cat "$cpu/cpu.cfs_quota_us") $(cat "$cpu/cpu.cfs_period_us")"
	sed -n '/^throttled_time /p' "$cpu/cpu.stat"
	states "$freezer"
fi
