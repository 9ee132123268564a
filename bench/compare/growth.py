#!/usr/bin/env python3
"""How the cost grows with the size of a file, the number of objects, and the number of readers.

  bench/compare/growth.py                  a few minutes; as root
  bench/compare/growth.py --most 1000000   also a tree of a million files (needs the inodes, and a while)

Each row is the median of several runs, each with an empty cache. What should stay level or grow in proportion
is in the last column: compare it down the rows of one run."""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time

import contenders
import workloads as w
from compare import FAR_DELAY_S, FAR_RATE, random_file
from origins import Origin, why_no_far

SIZES_MIB = (1, 100, 10_000, 100_000)
OBJECTS = (10, 1_000, 10_000, 100_000)
READERS = (1, 4, 16, 64, 256, 1000)
PER_FOLDER = 1000


def median_runs(repeats, run):
    runs = [run() for _ in range(repeats)]
    return {key: statistics.median(one[key] for one in runs) for key in runs[0]}


def with_rangecache(origin, work):
    """work(contender) on a fresh cache; adds what it cost."""
    contender = contenders.Rangecache()
    try:
        contender.start(origin)
        w.drop_page_cache()
        origin.warm()
        origin.forget()
        figures = work(contender)
        figures["requests"], figures["origin_bytes"] = origin.traffic()
        figures["memory_mib"] = contenders.peak_memory(contender.pids()) / w.MIB
        return figures
    finally:
        contender.discard()


def file_size(folder, repeats):
    """Open a file, and read 4 KiB at its begin, middle and end; then again, from the cache."""
    rows = []
    for size_mib in SIZES_MIB:
        root = os.path.join(folder, f"size{size_mib}")
        os.makedirs(root)
        with open(os.path.join(root, "sparse.bin"), "wb") as file:
            file.truncate(size_mib * w.MIB)
        origin = Origin("near", root)
        origin.warm = lambda: None  # it is holes
        places = [0, size_mib * w.MIB // 2 // 4096 * 4096, size_mib * w.MIB - 4096]

        def look(contender):
            def read():
                fd = os.open(contender.path("sparse.bin"), os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
                for place in places:
                    assert len(os.pread(fd, 4096, place)) == 4096
                os.close(fd)
            cold = w.timed(read)
            w.drop_page_cache()
            return {"cold_ms": cold * 1000, "warm_ms": w.timed(read) * 1000}

        figures = median_runs(repeats, lambda: with_rangecache(origin, look))
        origin.stop()
        shutil.rmtree(root)
        rows.append({"n": size_mib, **figures, "unit_cost": figures["cold_ms"]})
    return {"title": "File size", "n": "MiB", "unit": "cold ms", "rows": rows,
            "theory": "level: what is read is the same"}


def object_count(folder, repeats, most):
    """find over a tree of small files, cold and again."""
    rows = []
    for count in [n for n in OBJECTS + (1_000_000,) if n <= most]:
        root = os.path.join(folder, f"tree{count}")
        for i in range(count):
            if i % PER_FOLDER == 0:
                parent = os.path.join(root, f"{i // PER_FOLDER:04}")
                os.makedirs(parent)
            with open(os.path.join(parent, f"{i:07}"), "wb") as file:
                file.write(b"x")
        origin = Origin("near", root)
        origin.warm = lambda: None

        def walk(contender):
            cold = w.walk(contender, "", count)["seconds"]
            return {"cold_s": cold, "warm_s": w.walk(contender, "", count)["seconds"]}

        figures = median_runs(repeats, lambda: with_rangecache(origin, walk))
        origin.stop()
        shutil.rmtree(root)
        rows.append({"n": count, **figures, "unit_cost": figures["cold_s"] / count * 1e6})
    return {"title": "Objects", "n": "files", "unit": "cold us a file", "rows": rows,
            "theory": "level: a request for each folder, the same work for each file"}


def reader_count(folder, repeats):
    """N programs read a cold 64 MiB file whole; and 64 KiB each, at random places of a large file."""
    root = os.path.join(folder, "readers")
    random_file(os.path.join(root, "shared.bin"), 64 * w.MIB)
    with open(os.path.join(root, "large.bin"), "wb") as file:
        file.truncate(16 << 30)
    origin = Origin("far", root, FAR_DELAY_S, FAR_RATE)
    origin.warm = lambda: w.read_through(os.path.join(root, "shared.bin"))
    rows = []
    for count in READERS:
        places = [random.Random(i).randrange(0, (16 << 30) // 65536) * 65536 for i in range(count)]

        def scattered(contender):
            def read(number):
                fd = os.open(contender.path("large.bin"), os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
                assert len(os.pread(fd, 65536, places[number])) == 65536
                os.close(fd)
            return {"random_s": w.together(count, read)}

        def shared(contender):
            return {"shared_s": w.many_readers(contender, "shared.bin", count)["seconds"]}

        figures = median_runs(repeats, lambda: with_rangecache(origin, scattered))
        amplified = figures["origin_bytes"] / (count * 65536)
        whole = median_runs(repeats, lambda: with_rangecache(origin, shared)) if count <= 64 else {}
        rows.append({"n": count, "random_s": figures["random_s"], "requests": figures["requests"],
                     "origin_x_asked": amplified, "memory_mib": figures["memory_mib"],
                     "shared_s": whole.get("shared_s"),
                     "shared_x": whole and whole["origin_bytes"] / (64 * w.MIB),
                     "unit_cost": figures["random_s"] / max(1, count / 32) * 1000})
    origin.stop()
    return {"title": "Readers", "n": "readers", "unit": "random ms for each 32", "rows": rows,
            "theory": "level: 32 requests at a time to one server"}


def table(part):
    keys = [key for key in part["rows"][0] if key not in ("n", "unit_cost")]
    lines = [f"\n{part['title']} ({part['theory']})",
             f"  {part['n']:>10}" + "".join(f"  {key:>14}" for key in keys) + f"  {part['unit']:>22}"]
    for row in part["rows"]:
        cells = "".join(f"  {row[key]:>14.4g}" if isinstance(row[key], (int, float)) else f"  {'-':>14}"
                        for key in keys)
        lines.append(f"  {row['n']:>10,}{cells}  {row['unit_cost']:>22.4g}")
    return "\n".join(lines)


def chart(parts):
    """One panel for each part: the cost of a unit over n, both in powers of ten."""
    import math
    width, height, gap = 280, 200, 60
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{len(parts) * (width + gap) + 20}" '
           f'height="{height + 100}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>']
    for i, part in enumerate(parts):
        left, top = 50 + i * (width + gap), 40
        xs = [math.log10(row["n"]) for row in part["rows"]]
        ys = [math.log10(row["unit_cost"]) for row in part["rows"]]
        low, high = math.floor(min(ys)), math.ceil(max(ys) + 1e-9)
        high = max(high, low + 2)
        def place(x, y):
            return (left + (x - xs[0]) / ((xs[-1] - xs[0]) or 1) * width,
                    top + height - (y - low) / (high - low) * height)
        out.append(f'<text x="{left}" y="22" font-size="14" font-weight="bold">{part["title"]}: '
                   f'{part["unit"]}</text>')
        out.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>')
        for power in range(low, high + 1):
            _, y = place(xs[0], power)
            out.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{10 ** power:g}</text>')
            out.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        points = [place(x, y) for x, y in zip(xs, ys)]
        out.append('<polyline fill="none" stroke="#2a7f62" stroke-width="2" points="'
                   + " ".join(f"{x:.0f},{y:.0f}" for x, y in points) + '"/>')
        for (x, y), row in zip(points, part["rows"]):
            out.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="#2a7f62"/>')
            out.append(f'<text x="{x:.0f}" y="{top + height + 16}" text-anchor="middle">{row["n"]:,}</text>')
        out.append(f'<text x="{left}" y="{top + height + 34}" fill="#555">{part["n"]}</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=OBJECTS[-1], help="files in the largest tree")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--build", default="build/dev", help="where rangecache was built")
    parser.add_argument("--json", metavar="FILE", help="write all figures here")
    parser.add_argument("--svg", metavar="FILE", help="write a chart here")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("growth.py: run as root: it drops the page cache between runs")
        sys.exit(77)
    contenders.Rangecache.build = arguments.build
    folder = tempfile.mkdtemp(prefix="rangecache-bench-growth-")
    os.chmod(folder, 0o755)
    began = time.monotonic()
    parts = []
    try:
        parts.append(file_size(folder, arguments.repeats))
        print(table(parts[-1]), flush=True)
        parts.append(object_count(folder, arguments.repeats, arguments.most))
        print(table(parts[-1]), flush=True)
        if reason := why_no_far():
            print(f"skipped: readers: {reason}")
        else:
            parts.append(reader_count(folder, arguments.repeats))
            print(table(parts[-1]), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{time.monotonic() - began:.0f} s")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(parts, file, indent=1)
    if arguments.svg:
        with open(arguments.svg, "w", encoding="utf-8") as file:
            file.write(chart(parts))


if __name__ == "__main__":
    main()
