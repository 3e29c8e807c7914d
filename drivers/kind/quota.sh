# How much the pod whose UID is $1, with dashes as systemd writes them, may compute, as the
# kernel says; $2 microseconds in each tenth of a second from now on, where it is given, and with
# 0 as much as it wants.
set -eu
root=/sys/fs/cgroup
[ -e $root/cgroup.controllers ] || root=$root/cpu
dir=$(find $root/ -type d \( -name "*$1*" -o -name "*$(echo "$1" | tr _ -)*" \) -print -quit)
[ -n "$dir" ] || { echo ended; exit 0; }
set_quota() {
	if [ -e "$dir/cpu.max" ]; then
		[ "$1" != 0 ] || set -- max
		echo "$1 100000" >"$dir/cpu.max"
	elif [ "$1" = 0 ]; then
		echo -1 >"$dir/cpu.cfs_quota_us"
	else
		echo 100000 >"$dir/cpu.cfs_period_us"
		echo "$1" >"$dir/cpu.cfs_quota_us"
	fi
}
[ $# -lt 2 ] || set_quota "$2"
if [ -e "$dir/cpu.max" ]; then
	echo "quota $(cat "$dir/cpu.max")"
else
	echo "quota $(cat "$dir/cpu.cfs_quota_us") $(cat "$dir/cpu.cfs_period_us")"
fi
sed -n '/^throttled_time /p; /^throttled_usec /p' "$dir/cpu.stat"
