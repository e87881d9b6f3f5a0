# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For tests that have a directory $tmp: TAP as the kernel's selftests write it in shell. The
# helpers are where KTAP_HELPERS says, in the kernel tree around this file, or in the lab's.

tools=$(dirname "${BASH_SOURCE[0]}")/..
for helpers in "${KTAP_HELPERS:-}" {"$tools","$tools"/../build/*/source/tools}/testing/selftests/kselftest/ktap_helpers.sh; do
	[[ ! -r $helpers ]] || break
done
# shellcheck source=/dev/null
. "$helpers"
ktap_print_header

# holds NAME COMMAND...: one test, which passes if COMMAND does. bash does not stop at errors
# in a function that is called here: such functions return them.
holds() {
	local name=$1
	shift
	if "$@" >"$tmp/tap" 2>&1; then
		ktap_test_pass "$name"
	else
		ktap_test_fail "$name"
		sed 's/^/# /' "$tmp/tap"
	fi
	count_results
}

# needs PROGRAM NAME COMMAND...: as holds, or a skip if there is no PROGRAM
needs() {
	local program=$1
	shift
	if command -v "$program" >/dev/null; then
		holds "$@"
	else
		ktap_test_skip "$1"
		echo "# there is no $program"
	fi
	count_results
}

# Results so far, and those that failed.
n=0 failed=0
# shellcheck disable=SC2034 # for the scripts that source this
count_results() { n=$((KTAP_TESTNO - 1)) failed=$KTAP_CNT_FAIL; }

# finish: a plan of all results so far, and the exit status
finish() {
	ktap_set_plan $((KTAP_TESTNO - 1))
	ktap_finished
}
