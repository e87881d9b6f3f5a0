# SPDX-License-Identifier: GPL-2.0
"""Find the leaves of the direct map in the debugfs file KERNEL, and outline them as a strip."""

import math

import results

KERNEL = "/sys/kernel/debug/page_tables/kernel"
SECTION = "---[ "
DIRECT_MAP = "---[ Low Kernel Mapping ]---"
LEVELS = {"pte": ("4K", 1 << 12), "pmd": ("2M", 1 << 21), "pud": ("1G", 1 << 30)}
HOLE = (results.HOLE, 1 << 21)
MIB = {"1G": 1024, "2M": 2, "4K": 1 / 256, results.HOLE: 2}


def direct_map_lines(text):
    inside = False
    for line in text.splitlines():
        if line.startswith(SECTION):
            inside = line == DIRECT_MAP
        elif inside and line.strip():
            yield line


def parse(line):
    """(start, end, leaf), where leaf is a name and a size, or None for a hole."""
    addresses, *_, level = line.split()
    start, end = (int(address, 16) for address in addresses.split("-"))
    if " RW " not in line and " ro " not in line:
        return start, end, None
    if level not in LEVELS:
        raise ValueError(f"a leaf at an unknown level: {line}")
    return start, end, LEVELS[level]


def add(strip, name, count):
    """Append to a strip, which ignores protection: merge neighbours of the same size."""
    if strip and strip[-1][0] == name:
        strip[-1][1] += count
    elif count:
        strip.append([name, count])


def direct_map(text):
    """The leaves as {size: count}, and as a strip [[size, count]...] in the order of addresses.

    A hole, "-", counts in units of 2M. Its length is rounded so that the next leaf comes closest
    to its address: smaller holes may disappear, and no leaf is off by more than 1M.
    """
    ranges = [parse(line) for line in direct_map_lines(text)]
    if not any(leaf for _, _, leaf in ranges):
        raise ValueError("there is no direct map in these page tables")
    leaves, strip, reached = {"1G": 0, "2M": 0, "4K": 0}, [], ranges[0][0]
    for start, end, (name, size) in (found for found in ranges if found[2]):
        holes = max(0, round((start - reached) / HOLE[1]))
        count = (end - start) // size
        add(strip, HOLE[0], holes)
        add(strip, name, count)
        leaves[name] += count
        reached += holes * HOLE[1] + count * size
    return leaves, strip


def leaf_metrics(scenario, moment, leaves):
    """Leaves of 1G and 4K only: more 2M leaves can be better (merged) or worse (split)."""
    return [results.metric("leaves", leaves[size], "leaves", better, scenario=scenario, size=size,
                           moment=moment) for size, better in (("1G", "higher"), ("4K", "lower"))]


# Outlines of a strip

def strip_mib(strip):
    return sum(MIB[size] * n for size, n in strip)


def columns(strip, width, scale):
    """The share of each size in each of at most so many columns, at so many columns per MiB."""
    used = min(width, math.ceil(strip_mib(strip) * scale - 1e-9))
    found = [dict.fromkeys(MIB, 0.0) for _ in range(used)]
    at = 0
    for size, n in strip:
        start, at = at, at + MIB[size] * n * scale
        for column in range(int(start), min(math.ceil(at), used)):
            found[column][size] += min(at, column + 1) - max(start, column)
    return found


def skyline(tops):
    """The corners (X, HEIGHT) of the area below columns of these heights."""
    corners, last = [], 0
    for x, top in enumerate(tops):
        if top != last:
            corners += [(x, last), (x, top)]
            last = top
    return [*corners, (len(tops), last), (len(tops), 0)]
