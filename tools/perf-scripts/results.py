# SPDX-License-Identifier: GPL-2.0
"""Read, check and write results files.

A metric is a figure with a name. All its fields but those in ABOUT are its identity: metrics of
two files with the same identity are the same measurement.
"""

import json
import math
import os
import re
import subprocess

FORMAT = "exmem-perf 1"
SIZES = ("1G", "2M", "4K")
HOLE = "-"
ABOUT = ("value", "unit", "better", "noisy", "spread")
# Invalid in XML, or unsafe on a terminal
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Error(Exception):
    """An error in a results file; the message is one line."""


def require(truth, complaint):
    if not truth:
        raise Error(complaint)


def identity(metric):
    return tuple(sorted((k, v) for k, v in metric.items() if k not in ABOUT))


def label(metric):
    """The identity in the syntax of compare --threshold: NAME.KEY=VALUE..."""
    keys = (f".{k}={v}" for k, v in metric.items() if k not in ABOUT and k != "name")
    return metric["name"] + "".join(keys)


def is_number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_count(value):
    return isinstance(value, int) and is_number(value) and value >= 0


def check_strings(node):
    if isinstance(node, str):
        require(not UNPRINTABLE.search(node), f"a control character in {node!a}")
    elif isinstance(node, list):
        for item in node:
            check_strings(item)
    elif isinstance(node, dict):
        check_strings([*node.keys(), *node.values()])


def check_metric(metric):
    require(isinstance(metric, dict) and isinstance(metric.get("name"), str),
            f"a metric without a name: {metric}")
    for key, value in metric.items():
        require(isinstance(value, (str, bool)) or is_number(value),
                f"{metric['name']}: {key} is {value}, neither a string nor a finite number")
    name = label(metric)
    require(is_number(metric.get("value")), f"{name}: the value is not a number")
    require(isinstance(metric.get("unit"), str), f"{name}: no unit")
    require(metric.get("better") in ("lower", "higher"), f"{name}: better is neither lower nor higher")
    require(isinstance(metric.get("noisy", False), bool), f"{name}: noisy is not true or false")
    require(is_number(metric.get("spread", 0)), f"{name}: the spread is not a number")


def check_metrics(metrics):
    require(isinstance(metrics, list) and metrics, "no metrics")
    seen = set()
    for metric in metrics:
        check_metric(metric)
        require(identity(metric) not in seen, f"{label(metric)} is there twice")
        seen.add(identity(metric))


def is_leaves(leaves):
    return isinstance(leaves, dict) and all(is_count(leaves.get(s, 0)) for s in SIZES)


def is_strip(strip):
    return isinstance(strip, list) and all(
        isinstance(run, list) and len(run) == 2 and run[0] in (*SIZES, HOLE) and is_count(run[1])
        for run in strip)


def check_scenario(scenario):
    require(isinstance(scenario, dict) and isinstance(scenario.get("name"), str),
            f"a scenario without a name: {scenario}")
    require(isinstance(scenario.get("title", ""), str), f"{scenario['name']}: the title is not a string")
    for part, is_right in (("leaves", is_leaves), ("strip", is_strip)):
        moments = scenario.get(part, {})
        require(isinstance(moments, dict) and moments.keys() <= {"before", "after"}
                and all(map(is_right, moments.values())), f"{scenario['name']}: malformed {part}")


def check(data):
    require(isinstance(data, dict) and data.get("format") == FORMAT, f"the format is not {FORMAT}")
    check_strings(data)
    for part in ("machine", "parameters"):
        require(isinstance(data.get(part), dict), f"no {part}")
    check_metrics(data.get("metrics"))
    scenarios = data.get("scenarios")
    require(isinstance(scenarios, list), "no scenarios")
    for scenario in scenarios:
        check_scenario(scenario)
    names = [s["name"] for s in scenarios]
    require(len(names) == len(set(names)), "a scenario is there twice")


def no_constant(name):
    raise ValueError(f"{name} is not a number")


def load(path):
    """Read and check a file. Raises Error."""
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file, parse_constant=no_constant)
        check(data)
    except OSError as error:
        raise Error(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Error(f"{path}: not JSON: {error}") from error
    except Error as error:
        raise Error(f"{path}: {error}") from error
    return data


def save(data, path):
    check(data)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.write("\n")


def metric(name, value, unit, better="lower", **keys):
    return {"name": name, **keys, "value": value, "unit": unit, "better": better}


def revision():
    """The revision of these scripts, if they are in a git repository."""
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        found = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"],
                               capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        found = ""
    return {"revision": found} if found else {}


def number(value):
    """Format for people: 12 345, or three significant digits."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\u00a0")
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def unique(items):
    return list(dict.fromkeys(items))


def metrics(data, name):
    return [m for m in data["metrics"] if m["name"] == name]


def others(metric, *known):
    """The rest of a metric's identity, without its name and known fields."""
    left = [str(v) for k, v in metric.items() if k not in (*ABOUT, "name", *known)]
    return ", ".join(left)


def workload(metric):
    rest = others(metric, "scenario", "workload", "tlb")
    return str(metric.get("workload", "all")) + (f" ({rest})" if rest else "")


def walks(data):
    """{TLB: {workload: {scenario: value}}}; the TLB is '' for counts of the hardware."""
    tables = {}
    for m in metrics(data, "walks"):
        row = tables.setdefault(str(m.get("tlb", "")), {}).setdefault(workload(m), {})
        row[str(m.get("scenario"))] = m["value"]
    return tables


def unit(data, name):
    return " or ".join(unique(m["unit"] for m in metrics(data, name)))


def series(data, name, x):
    """{kind: [(x, value)]} of all metrics called name that have x."""
    lines = {}
    for m in metrics(data, name):
        if is_number(m.get(x)) and m[x] > 0 and m["value"] > 0:
            lines.setdefault(others(m, x) or name, []).append((m[x], m["value"]))
    return {kind: sorted(points) for kind, points in lines.items()}


def described(parameters):
    return "; ".join(f"{key} {', '.join(map(str, v)) if isinstance(v, list) else v}"
                     for key, v in parameters.items())
