# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared by lab/vm and lab/debian: the guest's output and log, and how its end is judged.
# Both scripts set $tmp, $log and $timeout.

# Status 125 is the lab's own, so that it differs from that of a guest's command.
die() { echo "lab/${0##*/}: $*" >&2; exit 125; }

# The "\] " ends the timestamp: without it, ordinary lines would match, too.
splats='\] WARNING: |[^E]BUG:? |Oops: |\] INFO: |KASAN: |UBSAN: |Kernel panic|Call Trace|[Bb]ad (page|p.d)|'
splats+='general protection fault|kmemleak: ([1-9][0-9]* new|Cannot)|list_(add|del) corruption'

# ports: the guest's log, its output and its status, as options for qemu
ports() {
	local name file
	printf '%s\n' -nodefaults -no-user-config -display none -no-reboot -serial "file:$log" \
		-device virtio-serial-pci,max_ports=8
	for name in out err status; do
		file=$tmp/$name
		printf '%s\n' -chardev "file,id=$name,path=$file" \
			-device "virtserialport,chardev=$name,name=$name"
	done
}

# with_output COMMAND...: run COMMAND, which runs qemu, and print the guest's output meanwhile
with_output() {
	local rc=0 cat_out cat_err
	mkfifo "$tmp/out" "$tmp/err"
	cat <"$tmp/out" 3>&- 4>&- & cat_out=$!
	cat <"$tmp/err" >&2 3>&- 4>&- & cat_err=$!
	# Held open here, so that neither cat sees the end before qemu has started and ended.
	exec 3>"$tmp/out" 4>"$tmp/err"
	"$@" 3>&- 4>&- || rc=$?
	exec 3>&- 4>&-
	wait "$cat_out" || die 'standard output could not be written'
	wait "$cat_err" || die 'standard error could not be written'
	return $rc
}

# fail MESSAGE [LINES]
fail() {
	echo "lab/${0##*/}: $1; the end of its log, ${log#"$PWD"/}:" >&2
	tail -n "${2:-30}" "$log" >&2
	[[ ! -s $tmp/qemu ]] || cat "$tmp/qemu" >&2
	exit 125
}

# judge RC [FILE]: fail if RC, the exit status of qemu, is an error, or if the guest's log has a
# complaint. Read FILE in place of the log.
judge() {
	if grep -qE "$splats" "${2:-$log}"; then
		grep -nE -m 5 "$splats" "${2:-$log}" >&2
		fail 'the guest complained' 60
	fi
	[[ $1 -ne 124 && $1 -ne 137 ]] || fail "the guest hung: no end after $timeout s"
	[[ $1 -eq 0 ]] || fail "qemu ended with $1"
}
