# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# TAP with the helpers of the kernel's selftests, for scripts that set $tmp to a directory. The
# helpers are $KTAP_HELPERS, or those of the kernel tree around this file, or the lab's.

tools=$(dirname "${BASH_SOURCE[0]}")/..
ktap=testing/selftests/kselftest/ktap_helpers.sh
for helpers in "${KTAP_HELPERS:-}" {"$tools","$tools"/../build/*/source/tools}/$ktap; do
	[[ ! -r $helpers ]] || break
done
# shellcheck source=/dev/null
. "$helpers"
ktap_print_header

# holds NAME COMMAND...: one test, which passes if COMMAND does. set -e has no effect in a
# function called from here: it has to return an error itself.
holds() {
	local name=$1
	shift
	if "$@" >"$tmp/tap" 2>&1; then
		ktap_test_pass "$name"
	else
		ktap_test_fail "$name"
		sed 's/^/# /' "$tmp/tap"
	fi
}

# needs PROGRAM NAME COMMAND...: like holds, or a skip if there is no PROGRAM
needs() {
	local program=$1
	shift
	if command -v "$program" >/dev/null; then
		holds "$@"
	else
		ktap_test_skip "$1"
		echo "# there is no $program"
	fi
}

# finish: a plan of all results so far, and the exit status
finish() {
	ktap_set_plan $((KTAP_TESTNO - 1))
	ktap_finished
}
