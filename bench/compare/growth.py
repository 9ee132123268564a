#!/usr/bin/env python3
"""How the cost grows with the size of a file, the number of objects, and the number of readers.

  bench/compare/growth.py                     about ten minutes; as root
  bench/compare/growth.py --objects 100000    without the tree of a million files: a few minutes
  bench/compare/growth.py --only objects      one part: size, objects or readers

Each row is the median of several runs (of one, for the largest tree), each with an empty cache. What should
stay level or grow in proportion is in the last column: compare it down the rows of one run."""

import argparse
import json
import os
import random
import re
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
OBJECTS = (10, 1_000, 10_000, 100_000, 1_000_000)
ONCE = 1_000_000  # such a tree takes a minute to walk, and is walked once
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


def room_for(files, folder):
    """Where so many files take no disk and no time: in memory, if it has the inodes. Else `folder`."""
    memory = "/dev/shm"
    enough = os.path.isdir(memory) and os.statvfs(memory).f_favail > 2 * files
    return tempfile.TemporaryDirectory(prefix="rangecache-bench-tree-", dir=memory if enough else folder)


def make_tree(root, count):
    """Files of 1 to 100 bytes, all of them holes."""
    for i in range(count):
        if i % PER_FOLDER == 0:
            parent = os.path.join(root, f"{i // PER_FOLDER:04}")
            os.makedirs(parent)
        fd = os.open(os.path.join(parent, f"{i:07}"), os.O_WRONLY | os.O_CREAT, 0o644)
        os.truncate(fd, 1 + i % 100)
        os.close(fd)


def object_count(folder, repeats, most):
    """find over a tree of small files: cold, again, and after a restart."""
    rows = []
    for count in [n for n in OBJECTS if n <= most]:
        with room_for(count, folder) as root:
            os.chmod(root, 0o755)
            make_tree(root, count)
            origin = Origin("near", root)
            origin.warm = lambda: None

            def walk(contender):
                cold = w.walk(contender, "", count)["seconds"]
                held = contenders.peak_memory(contender.pids())
                again = w.walk(contender, "", count)["seconds"]
                contender.stop()
                contender.start(origin)
                restarted = w.walk(contender, "", count)["seconds"]
                return {"cold_s": cold, "again_s": again, "restart_s": restarted, "cold_mib": held / w.MIB}

            figures = median_runs(1 if count >= ONCE else repeats, lambda: with_rangecache(origin, walk))
            origin.stop()
        figures["restart_mib"] = figures.pop("memory_mib")
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
    parser.add_argument("--objects", type=int, default=OBJECTS[-1], help="files in the largest tree")
    parser.add_argument("--only", default="", metavar="REGEX", help="parts whose title matches")
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
        for title, run in (
                ("File size", lambda: file_size(folder, arguments.repeats)),
                ("Objects", lambda: object_count(folder, arguments.repeats, arguments.objects)),
                ("Readers", lambda: reader_count(folder, arguments.repeats))):
            if not re.search(arguments.only, title, re.IGNORECASE):
                continue
            if title == "Readers" and (reason := why_no_far()):
                print(f"skipped: {title}: {reason}")
                continue
            parts.append(run())
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
