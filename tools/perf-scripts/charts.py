# SPDX-License-Identifier: GPL-2.0
"""Draw charts of a results file as SVG: gnuplot runs the scripts in the folder charts.

A chart is a function that returns a picture, or "" if the results file has no figures for it.
"""

import os
import re
import subprocess

import results
from pagetables import columns, skyline, strip_mib
from results import number, unique

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "charts")
# In the order of the stack, from the top.
BLOCKS = {results.HOLE: "hole", "1G": "leaf_1G", "2M": "leaf_2M", "4K": "leaf_4K"}
STRIP_COLUMNS = 560
MIN_4K = 1 / 14  # of the height of a column, about a pixel
WIDTH = 800
FONT_WIDTH = 6


def lines(rows):
    return "\n".join("\t".join(map(str, row)) for row in rows)


def literal(value):
    """A value in gnuplot's syntax, with nothing in strings that gnuplot could interpret."""
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if results.is_number(value):
        return str(value)
    return '"' + "".join(f"\\{byte:03o}" for byte in value.encode()) + '"'


def plot(script, title, blocks, **variables):
    """Run a script on named blocks of data, with variables."""
    commands = [f"${name} << END\n{text}\nEND" for name, text in blocks.items()]
    commands += [("array " if isinstance(v, list) else "") + f"{name} = {literal(v)}"
                 for name, v in variables.items()]
    commands.append(f"load '{script}'\n")
    try:
        done = subprocess.run(["gnuplot", "--default-settings"], cwd=SCRIPTS, input="\n".join(commands),
                              capture_output=True, encoding="utf-8", check=False)
    except FileNotFoundError as error:
        raise results.Error("gnuplot is missing: install gnuplot-nox (Debian) or gnuplot") from error
    results.require(done.returncode == 0 and done.stdout, f"gnuplot: {done.stderr.strip()}")
    svg = re.sub(r"[ \t]+$", "", done.stdout.rstrip() + "\n", flags=re.MULTILINE)
    return svg.replace("<title>Gnuplot</title>", f"<title>{title}</title>")


def line_chart(data, metric, x, xname, title, logarithmic=1):
    found = results.series(data, metric, x)
    if not found:
        return ""
    blocks = {"data": "\n\n\n".join(map(lines, found.values()))}
    return plot("lines.gp", title, blocks, height=320, series=list(found), xname=xname,
                yname=results.unit(data, metric), logarithmic=logarithmic)


def cpus(data):
    return line_chart(data, "cost_by_cpus", "cpus", "CPUs", "Cost per page by number of CPUs")


def cost(data):
    return line_chart(data, "cost", "pages", "pages in the object", "Cost per page by size")


def scaling(data):
    return line_chart(data, "scaling", "cpus", "CPUs", "Scaling over CPUs", logarithmic=0)


# The direct map

def leaf_counts(scenario, moment):
    found = scenario.get("leaves", {}).get(moment)
    if found is None:
        return ""
    return ", ".join(f"{number(found.get(size, 0))} × {size}" for size in results.SIZES)


def strips(shown):
    """(Y, scenario, moment, strip) of each row; a heading goes above each scenario's."""
    y, found = 0, []
    for scenario in shown:
        y += 1.5
        for moment in ("before", "after"):
            if moment in scenario["strip"]:
                found.append((y, scenario, moment, scenario["strip"][moment]))
                y += 1.2
    return found


def polygon(tops, y, gib_per_column):
    return lines((round(x * gib_per_column, 4), round(y + 1 - height, 3))
                 for x, height in skyline(tops))


def stacked(share, sizes):
    """How high these sizes reach in a column."""
    return round(max(min(sum(share[s] for s in sizes), 1), MIN_4K if share["4K"] else 0), 3)


def strip_polygons(rows, gib):
    """The blocks of polygons. In each column sizes are stacked, and 4K is at least a pixel high."""
    sizes = list(BLOCKS)
    found = {"outlines": [], **{name: [lines([(0, 0), (0, 0)])] for name in BLOCKS.values()}}
    for y, _, _, strip in rows:
        shares = columns(strip, STRIP_COLUMNS, STRIP_COLUMNS / gib / 1024)
        found["outlines"].append(polygon([1] * len(shares), y, gib / STRIP_COLUMNS))
        for i, size in enumerate(sizes):
            tops = [stacked(share, sizes[i:]) for share in shares]
            if any(tops):
                found[BLOCKS[size]].append(polygon(tops, y, gib / STRIP_COLUMNS))
    return {name: "\n\n".join(polygons) for name, polygons in found.items()}


def direct_map(data):
    shown = [s for s in data["scenarios"] if s.get("strip")]
    if not shown:
        return ""
    rows = strips(shown)
    gib = max(strip_mib(strip) for *_, strip in rows) / 1024 or 1
    counts = [leaf_counts(scenario, moment) for _, scenario, moment, _ in rows]
    headings = {f"{s['name']}  {s.get('title', '')}": y for y, s, *_ in reversed(rows)}
    blocks = {"headings": lines([y - 0.5] for y in headings.values()),
              "rows": lines((y + 0.5, row[1], text) for (y, *row), text in zip(rows, counts)),
              **strip_polygons(rows, gib)}
    bottom = rows[-1][0] + 1.2
    return plot("direct-map.gp", "The direct map before and after", blocks,
                height=round(90 + 16 * bottom), gib=gib, bottom=bottom, headings=list(headings),
                right=1 - (FONT_WIDTH * max(map(len, counts)) + 20) / WIDTH)


# Walks

def bars(table, workloads, scenarios):
    """A panel's table of values, and the labels of its bars."""
    rows, labels = [], []
    for x, workload in enumerate(workloads):
        row = table.get(workload, {})
        rows.append([row.get(s, "?") for s in scenarios])
        labels += [(x, i, row.get(s, 0), number(row[s]) if s in row else "not measured")
                   for i, s in enumerate(scenarios)]
    return lines(rows), lines(labels)


def walks(data):
    """A panel for each TLB."""
    tables = results.walks(data)
    if not tables:
        return ""
    known = [s["name"] for s in data["scenarios"]]
    found = unique(s for table in tables.values() for row in table.values() for s in row)
    scenarios = sorted(found, key=lambda s: known.index(s) if s in known else len(known))
    workloads = unique(name for table in tables.values() for name in table)
    top = max(v for table in tables.values() for row in table.values() for v in row.values())
    panels = [text for table in tables.values() for text in bars(table, workloads, scenarios)]
    return plot("walks.gp", "Page walks by workload", {"data": "\n\n\n".join(panels)},
                height=60 + 240 * len(tables), workloads=workloads, scenarios=scenarios,
                panels=[tlb or "counted by the hardware" for tlb in tables], top=top or 1,
                yname=results.unit(data, "walks"))


CHARTS = {"cpus": cpus, "direct-map": direct_map, "walks": walks, "cost": cost, "scaling": scaling}
