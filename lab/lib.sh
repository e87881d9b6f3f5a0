# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared by the scripts in lab/: paths and messages.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Build trees are large and reproducible: they are never part of the repository.
build=${EXMEM_BUILD:-$root/build}
kver=${KVER:-6.12}

say() { printf '[%(%H:%M:%S)T] %s\n' -1 "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

src=$build/$kver/source
# The kernel's own way to write TAP in shell, for tests that run from this repository.
export KTAP_HELPERS=$src/tools/testing/selftests/kselftest/ktap_helpers.sh
# Other clones on this machine compile the same files: keep paths and times out of ccache's key.
export CCACHE_BASEDIR=$build CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-5G}
export KBUILD_BUILD_TIMESTAMP=${KBUILD_BUILD_TIMESTAMP:-@0}
export KBUILD_BUILD_USER=lab KBUILD_BUILD_HOST=exmem
# out [FLAVOUR]: the object tree of a kernel with lab/config/FLAVOUR.config
out() { echo "$build/$kver/${1:-base}"; }

# config_flavour FILE: the name of the tree of a kernel with this configuration
config_flavour() { local name=${1##*/}; echo "config-${name#config-}"; }

# splits: print how many leaves of the direct map this kernel has split since it booted
splits() { awk '/^direct_map_level[23]_splits/ { n += $2 } END { print n + 0 }' /proc/vmstat; }

# overlay_files: print the files that we add to the kernel tree, without Debian's packaging
overlay_files() {
	(cd "$root" && find arch include mm Documentation tools -path tools/exmem/debian -prune -o \
		-type f -print | sort)
}

# config_files FLAVOUR: print the files that configure a kernel
config_files() {
	printf '%s\n' "$root/lab/config/base.config" "$root/lab/config/base-$kver.config"
	# No test boots 6.12 in Debian, and it builds faster without these options.
	[[ $kver == 6.12 ]] || echo "$root/lab/config/debian.config"
	[[ $1 == base ]] || echo "$root/lab/config/$1.config"
}

# set_kernel VER: use a kernel other than the default, here and in the scripts that this one runs
set_kernel() {
	export KVER=$1
	kver=$1
	src=$build/$kver/source
	KTAP_HELPERS=$src/tools/testing/selftests/kselftest/ktap_helpers.sh
	[[ -d $root/patches/$kver ]] || die "no patches/$kver: this kernel is not supported"
}

# ram_in_file FILE SIZE: qemu options for a guest whose RAM can be searched from outside
ram_in_file() {
	echo "-object memory-backend-file,id=ram0,size=$2,mem-path=$1,share=on -machine memory-backend=ram0"
}
