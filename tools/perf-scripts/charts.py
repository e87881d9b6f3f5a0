# SPDX-License-Identifier: GPL-2.0
"""Draw charts of a results file as SVG, for black and white.

A chart is a function that draws into a Picture and tells how high that got.
"""

import math
from xml.etree import ElementTree

import results
from results import number, unique

MIB = {"1G": 1024, "2M": 2, "4K": 1 / 256, results.HOLE: 2}
WIDTH = 780
MARGIN = 10
FONT = 11
BAR = 10
GROUP_GAP = 9
# What scenarios are filled with, in their order, and the name of each leaf size's fill.
BAR_FILLS = ("white", "hatch", "grey", "black", "cross", "dots")
LEAF_FILLS = {"1G": "light", "2M": "middle", "4K": "black", results.HOLE: "hole"}
PLAIN = {"white": "#fff", "light": "#dedede", "middle": "#a0a0a0", "grey": "#8a8a8a",
         "black": "#000"}
# name: size of the tile, background, what is drawn on it
PATTERNS = {
    "hatch": (4, "#fff", "M-1 1L1-1M0 4L4 0M3 5L5 3"),
    "cross": (5, "#fff", "M0 0L5 5M5 0L0 5"),
    "dots": (3, "#fff", "M1 1h1"),
    "hole": (6, "#fff", "M-1 5L1 7M0 0L6 6M5-1L7 1"),
}
MARKERS = ("M-3.5-3.5h7v7h-7z", "M0-4.5L4.5 3.5h-9z", "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
           "M0-5L5 0L0 5L-5 0z", "M-4-4L4 4M4-4L-4 4", "M-5 0h10M0-5v10")
DASHES = ("none", "7 3", "2 2", "9 3 2 3", "4 4", "12 4")


def add(parent, tag, text=None, **attributes):
    """Add an element. Numbers are rounded, class_ is class, stroke_width is stroke-width."""
    found = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    for key, value in found.items():
        found[key] = f"{value:.4g}" if isinstance(value, float) else str(value)
    element = ElementTree.SubElement(parent, tag, found)
    element.text = text
    return element


def extent(text):
    """About how wide a text gets, in whatever font there is."""
    return 0.6 * FONT * len(text)


class Picture:
    """An SVG picture. Its name keeps its patterns apart from those of others on a page."""

    def __init__(self, name, title):
        self.name = name
        self.root = ElementTree.Element("svg", {"role": "img", "font-family": "sans-serif",
                                                "font-size": str(FONT), "aria-label": title})
        self.title = title
        add(self.root, "title", title)
        self.defs = add(self.root, "defs")
        self.paper = add(self.root, "rect", fill="#fff")
        for fill, (size, background, path) in PATTERNS.items():
            tile = add(self.defs, "pattern", id=f"{name}-{fill}", width=size, height=size,
                       patternUnits="userSpaceOnUse")
            add(tile, "rect", width=size, height=size, fill=background)
            add(tile, "path", d=path, stroke="#000",
                stroke_width=0.4 if fill == "hole" else 1)

    def fill(self, name):
        return PLAIN.get(name) or f"url(#{self.name}-{name})"

    def end(self, height):
        size = {"width": str(WIDTH + 2 * MARGIN), "height": str(round(height) + 2 * MARGIN)}
        self.root.attrib.update(size)
        self.root.set("viewBox", f"{-MARGIN} {-MARGIN} {size['width']} {size['height']}")
        self.paper.attrib.update(size, x=str(-MARGIN), y=str(-MARGIN))
        return self


def write(parent, x, y, text, anchor="start", **attributes):
    add(parent, "text", text, x=float(x), y=float(y), text_anchor=anchor, **attributes)


def line(parent, x1, y1, x2, y2, **attributes):
    add(parent, "path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}",
        **{"stroke": "#000", "fill": "none", **attributes})


def legend(picture, parent, y, entries):
    x = 0
    for text, fill in entries:
        add(parent, "rect", x=x + 0.5, y=y - 9.5, width=16, height=10, fill=picture.fill(fill),
            stroke="#000", stroke_width=0.7)
        write(parent, x + 22, y, text)
        x += 22 + extent(text) + 16


def step(span, most):
    """A round step of which at most so many fit."""
    least = max(span, 1e-9) / most
    power = 10 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def ticks(top, most=5):
    by = step(top, most)
    return [i * by for i in range(int(top / by * (1 + 1e-9)) + 1)]


def tick(value):
    return number(value) if value == int(value) else f"{value:g}"


def rounded(value, up):
    """The next of 1, 2, 5, 10, 20... up or down."""
    power = 10 ** math.floor(math.log10(value))
    steps = [m * power for m in (1, 2, 5, 10)]
    return min(s for s in steps if s >= value) if up else max(s for s in steps if s <= value)


# The direct map

def strip_size(strip):
    return sum(MIB[size] * n for size, n in strip)


def columns(strip, width, scale):
    """For each column of pixels, how much of it each size takes, of 1."""
    found = [dict.fromkeys(MIB, 0.0) for _ in range(width)]
    at = 0
    for size, n in strip:
        start, at = at, at + MIB[size] * n * scale
        for column in range(int(start), min(math.ceil(at), width)):
            found[column][size] += min(at, column + 1) - max(start, column)
    return found


def skyline(tops, x, y, height):
    """A path around columns that stand on one line, as high as told, of 1."""
    path, last = f"M{x} {y + height}", None
    for i, top in enumerate(tops):
        level = f"{y + height * (1 - top):.1f}"
        if level != last:
            path += f"H{x + i}V{level}"
            last = level
    return path + f"H{x + len(tops)}V{y + height}z"


def draw_strip(picture, parent, strip, x, y, width, height, scale):
    """Sizes are piled up in each column, 4K at the bottom and at least a pixel high."""
    used = math.ceil(strip_size(strip) * scale - 1e-9)
    found = columns(strip, min(used, width), scale)
    for size in (results.HOLE, "1G", "2M", "4K"):
        piled = list(MIB)[list(MIB).index(size):-1] if size != results.HOLE else list(MIB)
        tops = [max(min(sum(c[s] for s in piled), 1), 1 / height if c["4K"] else 0)
                for c in found]
        if any(tops):
            add(parent, "path", d=skyline(tops, x, y, height),
                fill=picture.fill(LEAF_FILLS[size]))
    add(parent, "rect", x=x, y=y, width=len(found), height=height, fill="none", stroke="#000",
        stroke_width=0.5)


def leaf_counts(scenario, moment):
    found = scenario.get("leaves", {}).get(moment)
    if found is None:
        return ""
    return ", ".join(f"{number(found.get(size, 0))} × {size}" for size in results.SIZES)


def moments(scenario):
    return [(m, scenario["strip"][m]) for m in ("before", "after") if m in scenario["strip"]]


def gib_axis(parent, x, y, total, scale):
    for gib in ticks(total / 1024, 9):
        at = x + gib * 1024 * scale
        line(parent, at, y, at, y + 4)
        write(parent, at, y + 16, tick(gib), "middle")
    line(parent, x, y, x + total * scale, y)
    write(parent, x, y + 31, "address in the direct map, GiB")


def strip_chart(picture, data, height=16):
    """Draw a pair of strips for each scenario; tell how high all of it got."""
    shown = [s for s in data["scenarios"] if s.get("strip")]
    total = max(strip_size(strip) for s in shown for _, strip in moments(s))
    left, y = 46, 12
    texts = [extent(leaf_counts(s, moment)) for s in shown for moment, _ in moments(s)]
    width = int(WIDTH - left - max(texts) - 12)
    scale = width / total if total else 1
    legend(picture, picture.root, y, [(f"{size} leaves", LEAF_FILLS[size])
                                      for size in results.SIZES] + [("not mapped", "hole")])
    for s in shown:
        y += 26
        add(add(picture.root, "text", x=0, y=y), "tspan", s["name"], font_weight="bold").tail = \
            f"  {s.get('title', '')}"
        y += 5
        for moment, strip in moments(s):
            draw_strip(picture, picture.root, strip, left, y, width, height, scale)
            write(picture.root, 0, y + height / 2 + 4, moment)
            write(picture.root, left + width + 10, y + height / 2 + 4, leaf_counts(s, moment))
            y += height + 3
    gib_axis(picture.root, left, y + 5, total, scale)
    return y + 40


# Walks

def bars(picture, parent, row, fills, x, y, scale):
    for i, (scenario, fill) in enumerate(fills.items()):
        at = y + i * BAR
        if scenario not in row:
            write(parent, x + 4, at + BAR - 2, "not measured", font_size=9)
            continue
        add(parent, "rect", x=x, y=at + 0.5, width=max(row[scenario] * scale, 0.0),
            height=BAR - 2, fill=picture.fill(fill), stroke="#000", stroke_width=0.7)
        write(parent, x + max(row[scenario] * scale, 0) + 4, at + BAR - 2,
              number(row[scenario]), font_size=9)


def walks_panel(picture, parent, table, fills, x, y, width, unit_name, names):
    """Groups of bars, a group for each workload. Tells where it ends."""
    top = max(value for row in table.values() for value in row.values())
    scale = (width - 44) / top if top > 0 else 0
    pitch = len(fills) * BAR + GROUP_GAP
    for i, name in enumerate(names):
        bars(picture, parent, table.get(name, {}), fills, x, y + i * pitch, scale)
    bottom = y + len(names) * pitch - 4
    line(parent, x, y - 3, x, bottom)
    for value in ticks(top, max(2, int(width / 70))) if top > 0 else [0]:
        line(parent, x + value * scale, bottom, x + value * scale, bottom + 4)
        write(parent, x + value * scale, bottom + 16, tick(value), "middle")
    write(parent, x, bottom + 31, unit_name)
    return bottom + 40


def walks_chart(picture, data, chosen, y=0):
    """A panel for each of the TLBs that are chosen, side by side."""
    tables = {tlb: table for tlb, table in results.walks(data).items() if tlb in chosen}
    found = unique(s for t in tables.values() for row in t.values() for s in row)
    known = [s["name"] for s in data["scenarios"]]
    order = sorted(found, key=lambda s: known.index(s) if s in known else len(known))
    fills = {s: BAR_FILLS[i % len(BAR_FILLS)] for i, s in enumerate(order)}
    names = unique(name for table in tables.values() for name in table)
    left = max(map(extent, names)) + 10
    width = (WIDTH - left) / len(tables)
    legend(picture, picture.root, y + 12, fills.items())
    pitch = len(fills) * BAR + GROUP_GAP
    for i, name in enumerate(names):
        write(picture.root, 0, y + 44 + i * pitch + len(fills) * BAR / 2 + 4, name)
    for i, (tlb, table) in enumerate(tables.items()):
        x = left + i * width
        write(picture.root, x, y + 34, tlb or "counted by the hardware", font_weight="bold")
        end = walks_panel(picture, picture.root, table, fills, x, y + 44, width - 16,
                          results.unit(data, "walks"), names)
    return end


# Lines

def spread(places, gap, bottom):
    """Move places apart, and up from the bottom, so that labels there don't overlap."""
    found = {}
    last = -math.inf
    for key, y in sorted(places.items(), key=lambda item: item[1]):
        last = found[key] = max(y, last + gap)
    last = bottom + gap
    for key in reversed(found):
        last = found[key] = min(found[key], last - gap)
    return found


def axes(parent, x, y, marks, names, box):
    """Axes with ticks: marks are the values on each, names what they mean."""
    left, top, right, bottom = box
    line(parent, left, bottom, right, bottom)
    line(parent, left, top, left, bottom)
    last = -math.inf
    for value in marks[0]:
        line(parent, x(value), bottom, x(value), bottom + 4)
        if x(value) - last > extent(tick(value)) + 6:
            last = x(value)
            write(parent, last, bottom + 16, tick(value), "middle")
    for value in marks[1]:
        line(parent, left - 4, y(value), left, y(value))
        write(parent, left - 7, y(value) + 4, tick(value), "end")
    write(parent, (left + right) / 2, bottom + 32, names[0], "middle")
    write(parent, 0, top - 10, names[1])


def mark(parent, i, x, y):
    add(parent, "path", d=MARKERS[i % len(MARKERS)], stroke="#000", stroke_width=1.2,
        fill="#000" if i % 2 else "#fff", transform=f"translate({x:.1f} {y:.1f})")


def lines(parent, found, x, y, box):
    """Draw each series with a marker and a dash of its own, and its name at its end."""
    right, bottom = box[2:]
    places = spread({kind: y(points[-1][1]) for kind, points in found.items()}, FONT + 2, bottom)
    for i, (kind, points) in enumerate(found.items()):
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in points)
        add(parent, "path", d="M" + path, fill="none", stroke="#000", stroke_width=1.2,
            stroke_dasharray=DASHES[i % len(DASHES)])
        for a, b in points:
            mark(parent, i, x(a), y(b))
        end = x(points[-1][0])
        line(parent, end + 6, y(points[-1][1]), right + 8, places[kind], stroke="#888",
             stroke_width=0.5)
        mark(parent, i, right + 15, places[kind])
        write(parent, right + 24, places[kind] + 4, kind)


def log_scale(low, high, start, end):
    span = math.log(high / low) or 1
    return lambda value: start + (end - start) * math.log(value / low) / span


def plot_box(found, height):
    labels = max(map(extent, found))
    return 60, 30, WIDTH - labels - 26, height - 40


def cost_chart(picture, data, height=320):
    found = results.series(data, "cost", "pages")
    sizes = sorted({a for points in found.values() for a, _ in points})
    values = [b for points in found.values() for _, b in points]
    low, high = rounded(min(values), False), rounded(max(values), True)
    marks = [low]
    while marks[-1] < high:
        marks.append(rounded(marks[-1] * 1.5, True))
    left, top, right, bottom = box = plot_box(found, height)
    x = log_scale(sizes[0], sizes[-1], left + 14, right - 8)
    y = log_scale(low, high, bottom, top)
    names = "pages in the object", results.unit(data, "cost")
    axes(picture.root, x, y, (sizes, marks), names, box)
    lines(picture.root, found, x, y, box)
    return height


def scaling_chart(picture, data, height=320):
    found = results.series(data, "scaling", "cpus")
    sizes = sorted({a for points in found.values() for a, _ in points} | {1})
    high = max(sizes[-1], *(b for points in found.values() for _, b in points))
    left, top, right, bottom = box = plot_box(found, height)

    def x(value):
        return left + (right - 8 - left) * value / sizes[-1]

    def y(value):
        return bottom + (top - bottom) * value / high

    line(picture.root, x(0), y(0), x(sizes[-1]), y(sizes[-1]), stroke="#888")
    write(picture.root, x(sizes[-1] * 0.8) - 8, y(sizes[-1] * 0.8), "ideal", "end")
    axes(picture.root, x, y, (sizes, ticks(high)), ("CPUs", results.unit(data, "scaling")), box)
    lines(picture.root, found, x, y, box)
    return height
