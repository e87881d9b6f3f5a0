# SPDX-License-Identifier: GPL-2.0
"""Find the leaves of the direct map in what the file KERNEL says."""

import results

KERNEL = "/sys/kernel/debug/page_tables/kernel"
SECTION = "---[ "
DIRECT_MAP = "---[ Low Kernel Mapping ]---"
LEVELS = {"pte": ("4K", 1 << 12), "pmd": ("2M", 1 << 21), "pud": ("1G", 1 << 30)}
HOLE = ("-", 1 << 21)


def direct_map_lines(text):
    inside = False
    for line in text.splitlines():
        if line.startswith(SECTION):
            inside = line == DIRECT_MAP
        elif inside and line.strip():
            yield line


def parse(line):
    """(start, end, leaf), where leaf is a name and a size, or None if nothing is mapped."""
    addresses, *_, level = line.split()
    start, end = (int(address, 16) for address in addresses.split("-"))
    if " RW " not in line and " ro " not in line:
        return start, end, None
    if level not in LEVELS:
        raise ValueError(f"a leaf at an unknown level: {line}")
    return start, end, LEVELS[level]


def add(strip, name, count):
    """Lines differ in protection too: the strip does not."""
    if strip and strip[-1][0] == name:
        strip[-1][1] += count
    elif count:
        strip.append([name, count])


def direct_map(text):
    """Its leaves as {size: count}, and as a strip [[size, count]...] in the order of addresses.

    A hole, "-", counts in units of 2M, and is as long as brings the strip closest to the address
    of the next leaf. So holes of less may be left out, and nothing is off by more than 1M.
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
    """Of 2M leaves neither more nor less is better: either the others change, or memory."""
    return [results.metric("leaves", leaves[size], "leaves", better, scenario=scenario, size=size,
                           moment=moment) for size, better in (("1G", "higher"), ("4K", "lower"))]
