# Whether the container whose ID is $1 goes on, as the kernel says.
set -eu
root=/sys/fs/cgroup
[ -e $root/cgroup.controllers ] || root=$root/freezer
dir=$(find $root/ -type d -name "*$1*" -print -quit)
[ -n "$dir" ] || { echo ended; exit 0; }
if [ -e "$dir/cgroup.events" ]; then
	sed -n '/^frozen /p' "$dir/cgroup.events"
else
	echo "frozen $(cat "$dir/freezer.state")"
fi
printf processes
for pid in $(cat "$dir/cgroup.procs"); do
	printf ' %s' "$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null || true)"
done
echo
