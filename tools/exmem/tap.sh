# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For tests that print TAP and have a directory $tmp.

n=0 failed=0

# holds NAME COMMAND...: one test, which passes if COMMAND does. Functions that are called
# here have to look after errors: bash does not stop at one.
holds() {
	local name=$1
	shift
	n=$((n + 1))
	if "$@" >"$tmp/tap" 2>&1; then
		echo "ok $n - $name"
	else
		failed=$((failed + 1))
		echo "not ok $n - $name"
		sed 's/^/# /' "$tmp/tap"
	fi
}
