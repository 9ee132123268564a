#!/usr/bin/env python3
"""Compares rangecache with other caches and with the limits of the machine, side by side in one run.

  bench/compare/compare.py                       all cases (about 20 minutes); as root
  bench/compare/compare.py --smoke               small files, one repeat: does everything run?
  bench/compare/compare.py --only "cold|SQLite"  cases whose name matches
  bench/compare/compare.py --only "^S3"          those at a bucket: Ceph's gateway, started here in memory

Each contender does each case in turn, from an empty cache directory (or a complete one, where the case says
so) and with the page cache dropped; then the next repeat. The table shows medians, their range, and ratios to
the best of the others; --json and --svg write the same for programs and for the README."""

import argparse
import json
import os
import random
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import zipfile

import contenders
import report
import workloads
from buckets import BucketOrigin, Gateway, why_no_rgw
from cases import CASES, FULL, SMOKE
from origins import Origin, why_no_far

FAR_DELAY_S, FAR_RATE = 0.030, 100_000_000


def random_file(path, size):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    bytes_of = random.Random(path)
    with open(path, "wb") as file:
        for begin in range(0, size, workloads.MIB):
            file.write(bytes_of.randbytes(min(workloads.MIB, size - begin)))


def make_files(root, scale):
    random_file(f"{root}/large.bin", scale.large_mib * workloads.MIB)
    random_file(f"{root}/shared.bin", scale.shared_mib * workloads.MIB)
    for i in range(12):
        random_file(f"{root}/first/{i}.bin", 2 * workloads.MIB)
    for i in range(scale.small):
        random_file(f"{root}/small/{i:05}.bin", 64 * workloads.KIB)
    for folder in range(scale.folders):
        for file in range(scale.files):
            random_file(f"{root}/tree/{folder:02}/{file:03}.txt", 100 + file)
    with zipfile.ZipFile(f"{root}/members.zip", "w") as archive:
        body = random.Random(2)
        for i in range(200):
            archive.writestr(f"m{i}", body.randbytes(scale.large_mib * workloads.KIB // 4))
    if shutil.which("ffmpeg"):  # its index is at the end
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=640x360:rate=25", "-t",
                        str(scale.film_s), "-c:v", "mpeg4", "-q:v", "1", f"{root}/film.mp4"], check=True)
    database = sqlite3.connect(f"{root}/rows.db")
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
    body = random.Random(1)
    database.executemany("INSERT INTO t VALUES (?, ?)",
                         ((i, body.randbytes(1000)) for i in range(scale.rows)))
    database.commit()
    database.close()


def names_in_bucket(root, scale):
    """What the cases at a bucket read of the files."""
    yield "large.bin"
    yield from (f"first/{i}.bin" for i in range(12))
    yield from (f"small/{i:05}.bin" for i in range(scale.small // 20))
    for folder, _, names in os.walk(f"{root}/tree"):
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in names)


class Origins:
    """The origins by their names, each started when it is first asked for."""

    FAR = {"delay_s": FAR_DELAY_S, "rate": FAR_RATE}

    def __init__(self, root, scale):
        self.root, self.scale = root, scale
        self.running, self.gateway = {}, None

    @staticmethod
    def why_not(name):
        return name.startswith("far") and why_no_far() or name.endswith("bucket") and why_no_rgw()

    def __getitem__(self, name):
        if name not in self.running:
            speed = self.FAR if name.startswith("far") else {}
            if name.endswith("bucket"):
                self.gateway = self.gateway or Gateway(self.root, names_in_bucket(self.root, self.scale))
                self.running[name] = BucketOrigin(name, self.gateway, self.root, **speed)
            else:
                self.running[name] = Origin(name, self.root, **speed)
        return self.running[name]

    def stop(self):
        for each in (*self.running.values(), self.gateway):
            if each:
                each.stop()


def run_once(kind, case, origin, scale):
    """One contender, one case, one repeat: the figures, with what it cost."""
    contender = kind()
    try:
        contender.start(origin)
        cached = case.complete or case.partly
        if cached:
            path = contender.path("large.bin")
            if contender.kind != "native":
                workloads.read_through(path, end=os.path.getsize(path) // 4 * 3 if case.partly else None)
                if hasattr(contender, "complete"):
                    contender.complete()
            if case.restart:
                contender.stop()
                contender.start(origin)
        workloads.drop_page_cache()
        if not cached:
            origin.warm()  # its disk is not what is measured
        origin.forget()
        before = contenders.cpu_seconds(contender.pids())
        tools_before = contenders.Tool.children_cpu() if contender.kind == "tool" else 0
        figures = case.work(contender, scale)
        figures["cpu_s"] = (contenders.Tool.children_cpu() - tools_before
                            if contender.kind == "tool"
                            else contenders.cpu_seconds(contender.pids()) - before)
        figures["memory_bytes"] = contenders.peak_memory(contender.pids())
        contender.stop()  # nginx logs a request when it is over
        origin.settle()
        figures["origin_requests"], figures["origin_bytes"] = origin.traffic()
        figures["origin_mb"] = figures["origin_bytes"] / 1e6
        return figures
    finally:
        contender.discard()


def in_turn(kinds, repeat):
    """Each of them is the first one once: a disk or a machine may be faster at some moment of every round."""
    first = repeat % len(kinds)
    return kinds[first:] + kinds[:first]


def median_of(runs):
    """Of each figure: median, least and most."""
    return {key: {"median": statistics.median(values), "min": min(values), "max": max(values)}
            for key in runs[0]
            for values in [[run[key] for run in runs]]}


def write_reports(results, arguments):
    """After each case: a run that is ended early leaves what it has."""
    for path, text in ((arguments.json, json.dumps([result.as_json() for result in results], indent=1)),
                       (arguments.markdown, report.markdown(results)),
                       (arguments.svg, report.chart(results))):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="small files and one repeat")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose name matches")
    parser.add_argument("--who", default="", metavar="REGEX", help="contenders whose name matches")
    parser.add_argument("--repeats", type=int, help="of each case (default 3); more of those beside a native read")
    parser.add_argument("--build", default="build/dev", help="where rangecache was built")
    parser.add_argument("--json", metavar="FILE", help="write all figures here")
    parser.add_argument("--markdown", metavar="FILE", help="write a short table here")
    parser.add_argument("--svg", metavar="FILE", help="write a chart here")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("compare.py: run as root: it drops the page cache between runs")
        sys.exit(77)
    contenders.Rangecache.build = arguments.build
    scale = SMOKE if arguments.smoke else FULL
    repeats = arguments.repeats or scale.repeats

    root = tempfile.mkdtemp(prefix="rangecache-bench-files-")
    os.chmod(root, 0o755)
    origins, results = Origins(root, scale), []
    try:
        cases = [case for case in CASES if re.search(arguments.only, case.name)]
        for kind in contenders.ALL:
            if reason := kind.why_not():
                print(f"skipped: {kind.name}: {reason}", flush=True)
        missing = {}
        for name in dict.fromkeys(case.origin for case in cases):
            if reason := origins.why_not(name):
                missing[name] = reason
                print(f"skipped: all cases at the {name}: {reason}", flush=True)
        make_files(root, scale)
        for case in cases:
            if case.origin in missing:
                continue
            if case.needs and not shutil.which(case.needs):
                print(f"skipped: {case.name}: {case.needs} is not installed", flush=True)
                continue
            kinds = [kind for kind in case.who
                     if not kind.why_not() and re.search(arguments.who, kind.name)]
            origin = origins[case.origin]
            runs = {kind.name: [] for kind in kinds}
            failures = {}
            for repeat in range(case.repeats(repeats)):
                for kind in in_turn(kinds, repeat):
                    if kind.name in failures:
                        continue
                    try:
                        runs[kind.name].append(run_once(kind, case, origin, scale))
                    except Exception as failure:  # one contender's failure is a result
                        failures[kind.name] = str(failure) or type(failure).__name__
            result = report.Result(case, scale, {name: median_of(each) for name, each
                                                 in runs.items() if each}, failures)
            results.append(result)
            print(report.table(result), flush=True)
            write_reports(results, arguments)
    finally:
        origins.stop()
        shutil.rmtree(root, ignore_errors=True)
    if any("rangecache" in result.failures for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
