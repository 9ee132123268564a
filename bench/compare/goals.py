#!/usr/bin/env python3
"""Measures what rangecache has set itself, and says of each goal whether it is met.

  bench/compare/goals.py                  all of them (about 8 minutes); as root
  bench/compare/goals.py --only "index"   those whose name matches
  bench/compare/goals.py --markdown FILE  the table for bench/README.md, too
  bench/compare/goals.py --from FILE      cases that a compare.py --json has measured are not run again

Each goal is a ratio to a limit that is measured beside it, in the same run: the same bytes on the same disk read
natively, the best parallel downloader, the round trip of the far server (30 ms, 100 MB/s a connection)."""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import compare
import contenders
import workloads
from cases import CASES, FULL, SMOKE

RANGECACHE = contenders.Rangecache.name


class Bench:
    """Runs cases, and remembers what they gave: several goals may ask for the same."""

    def __init__(self, scale, repeats, recorded):
        self.scale, self.repeats = scale, repeats
        self.known = {(case["case"], "runs"): case["contenders"] for case in recorded}
        self.root = tempfile.mkdtemp(prefix="rangecache-bench-files-")
        os.chmod(self.root, 0o755)
        self.origins = compare.Origins(self.root, scale)
        compare.make_files(self.root, scale)

    def figure(self, case_name, kind, figure):
        """The median of a figure of one contender."""
        case = next(case for case in CASES if case.name == case_name)
        if (case_name, "runs") not in self.known:  # side by side: all contenders of the goals in turn
            kinds = [each for each in case.who if each in WANTED]
            runs = {each.name: [] for each in kinds}
            for repeat in range(case.repeats(self.repeats)):
                for each in compare.in_turn(kinds, repeat):
                    runs[each.name].append(compare.run_once(each, case, self.origins[case.origin], self.scale))
            self.known[case_name, "runs"] = {name: compare.median_of(each) for name, each in runs.items()}
        return self.known[case_name, "runs"][kind.name][figure]["median"]

    def stop(self):
        self.origins.stop()
        shutil.rmtree(self.root, ignore_errors=True)


WANTED = (contenders.Rangecache, contenders.Aria2)


def to_limit(case, figure, limit):
    """Ours as a share of the limit's; more is better."""
    return lambda bench: (bench.figure(case, contenders.Rangecache, figure)
                          / bench.figure(case, limit, figure))


class Cached:
    """large.bin in the cache, through the mount and as the files that it stands in there."""

    def __init__(self, bench, end):
        self.contender = contenders.Rangecache()
        self.contender.start(bench.origins["near"])
        self.mounted = self.contender.path("large.bin")
        self.end = end or os.path.getsize(self.mounted)
        workloads.read_through(self.mounted, end=self.end)
        self.contender.complete()
        self.files = sorted(os.path.join(where, name) for where, _, names
                            in os.walk(os.path.join(self.contender.directory, "cache", "objects"))
                            for name in names if name != "meta")

    def path(self, _):
        """For fio: the mount, or the one file that a complete object is."""
        return self.files[0] if self.natively else self.mounted

    def stream(self):
        return self.end / 1e6 / workloads.timed(
            lambda: [workloads.read_through(file, end=self.end)
                     for file in (self.files if self.natively else [self.mounted])])

    def compare(self, work, repeats, cold):
        """The median of work(self) through the mount, to that of the same files read natively."""
        results = {False: [], True: []}
        for repeat in range(2 * repeats + 1):
            for self.natively in compare.in_turn([False, True], repeat):
                if cold:
                    workloads.drop_page_cache()
                else:
                    self.stream()
                results[self.natively].append(work(self))
        return statistics.median(results[False]) / statistics.median(results[True])


def of_the_same_file(work, cold=True, share=1):
    """To another copy the ratio would be one of two places on the disk."""
    def measure(bench):
        size = bench.scale.large_mib * workloads.MIB
        cached = Cached(bench, int(size * share))
        try:
            return cached.compare(work, bench.repeats, cold)
        finally:
            cached.contender.discard()
    return measure


def random_reads(jobs, seconds=0):
    return lambda cached: workloads.fio(cached, "large.bin", "randread", "4k", jobs, seconds)["iops"]


def of_bytes_asked(case):
    def measure(bench):
        asked = next(each for each in CASES if each.name == case).asked(bench.scale)
        return bench.figure(case, contenders.Rangecache, "origin_bytes") / asked
    return measure


def round_trips(case, figure):
    """One is what curl needs at the least for a request of 4 KiB over a kept connection."""
    return lambda bench: (bench.figure(case, contenders.Rangecache, figure)
                          / (compare.FAR_DELAY_S * 1000))


def run(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **more).stdout.decode()


def start_of_a_million(bench):
    out = run(os.path.join(contenders.Rangecache.build, "bench/micro/index_bench"),
              "--benchmark_filter=find_chunk$", "--chunks", "1000000", "--objects", "100000")
    bench.index = out
    return float(re.search(r"opened in ([\d.]+) s", out).group(1))


def ten_million(pattern):
    def measure(bench):
        if not hasattr(bench, "large_index"):
            bench.large_index = run(os.path.join(contenders.Rangecache.build, "bench/micro/index_bench"),
                                    "--benchmark_filter=find_chunk/", "--chunks", "10000000",
                                    "--objects", "1000000")
        return float(re.search(pattern, bench.large_index).group(1))
    return measure


def library_read(bench):
    contender = contenders.Rangecache()
    try:
        contender.start(bench.origins["near"])
        workloads.read_through(contender.path("large.bin"))
        contender.complete()
        out = run(os.path.join(contender.build, "bench/micro/client_read_bench"), "--url",
                  contender.origin_url + "large.bin",
                  env={**os.environ, "RANGECACHE_SOCKET": contender.socket})
        return float(re.search(r"File::read, leased +\d+ +([\d.]+)x", out).group(1))
    finally:
        contender.discard()


def crowded_memory(bench):
    """1,000 files open, 64 streams of the far server at once: the most object bytes in memory, to the limit."""
    contender = contenders.Rangecache()
    handles = []
    try:
        contender.start(bench.origins["far"])
        names = [f"small/{i:05}.bin" for i in range(min(1000, bench.scale.small))]
        handles = [os.open(contender.path(name), os.O_RDONLY) for name in names]
        most = [0.0]
        share = bench.scale.large_mib * workloads.MIB // 64
        def stream(number):
            with open(contender.path("large.bin"), "rb", buffering=0) as file:
                for at in range(number * share, (number + 1) * share, workloads.MIB):
                    file.seek(at)
                    file.read(workloads.MIB)
                    most[0] = max(most[0], contender.metric("rangecache_memory_bytes"))
        workloads.together(64, stream)
        return most[0] / contender.metric("rangecache_memory_limit_bytes")
    finally:
        for handle in handles:
            os.close(handle)
        contender.discard()


AT_LEAST, AT_MOST = "≥", "≤"
NATIVELY = "its files in the cache, read natively"
GOALS = (  # what, to what, measure, sense, goal, unit
    ("complete file, sequential", NATIVELY, of_the_same_file(Cached.stream), AT_LEAST, 0.95, "×"),
    ("complete file, random 4 KiB, 1 job", NATIVELY, of_the_same_file(random_reads(1)), AT_LEAST, 0.95, "×"),
    ("complete file, random 4 KiB, 8 jobs", NATIVELY, of_the_same_file(random_reads(8)), AT_LEAST, 0.95, "×"),
    ("partly cached file, sequential", NATIVELY, of_the_same_file(Cached.stream, share=0.75), AT_LEAST, 0.85, "×"),
    ("page cache warm, sequential", NATIVELY, of_the_same_file(Cached.stream, cold=False), AT_LEAST, 0.95, "×"),
    ("page cache warm, random 4 KiB, 1 job", NATIVELY, of_the_same_file(random_reads(1, 3), cold=False),
     AT_LEAST, 0.95, "×"),
    ("cold sequential, far", "aria2c -x16", to_limit("cold sequential, far", "mb_s", contenders.Aria2),
     AT_LEAST, 0.95, "×"),
    ("cold open and first 4 KiB, far", "one round trip",
     round_trips("open and first 4 KiB, far", "p50_ms"), AT_MOST, 1.15, "×"),
    ("cold random 64 KiB, far: bytes moved", "bytes asked", of_bytes_asked("200 random 64 KiB, far"),
     AT_MOST, 1.10, "×"),
    ("cold random 64 KiB, far: time of a read", "one round trip",
     round_trips("200 random 64 KiB, far", "p50_ms"), AT_MOST, 1.15, "×"),
    ("64 readers of one cold file: bytes moved", "its size",
     of_bytes_asked("64 readers of one cold file, near"), AT_MOST, 1.005, "×"),
    ("restart, then re-read: bytes moved", "its size", of_bytes_asked("restart, then re-read"), AT_MOST, 0, "×"),
    ("start with 1 M chunks", "", start_of_a_million, AT_MOST, 2, " s"),
    ("cached 4 KiB read through the library", "pread of a local file", library_read, AT_MOST, 1.5, "×"),
    ("object bytes in memory: 1,000 open files, 64 streams", "the limit", crowded_memory, AT_MOST, 1, "×"),
    ("index of 10 M chunks: a look-up", "", ten_million(r"find_chunk/\S*threads:1 +(\d+) ns"), AT_MOST, 1000, " ns"),
    ("index of 10 M chunks: memory of an entry", "", ten_million(r"of which (\d+) its index entry"),
     AT_MOST, 100, " B"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX", help="goals whose name matches")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="small files and one repeat")
    parser.add_argument("--build", default="build/dev", help="where rangecache was built")
    parser.add_argument("--from", dest="recorded", metavar="FILE", help="what compare.py --json wrote")
    parser.add_argument("--markdown", metavar="FILE", help="write the table here, too")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("goals.py: run as root: it drops the page cache between runs")
        sys.exit(77)
    contenders.Rangecache.build = arguments.build
    recorded = []
    if arguments.recorded:
        with open(arguments.recorded, encoding="utf-8") as file:
            recorded = json.load(file)
    bench = Bench(SMOKE if arguments.smoke else FULL, 1 if arguments.smoke else arguments.repeats, recorded)
    lines = ["| work | to | goal | measured | |", "| --- | --- | --- | --- | --- |"]
    print("\n".join(lines), flush=True)
    try:
        for name, limit, measure, sense, goal, unit in GOALS:
            if not re.search(arguments.only, name):
                continue
            try:
                value = measure(bench)
            except (RuntimeError, OSError, KeyError, AttributeError, subprocess.CalledProcessError) as failure:
                lines.append(f"| {name} | {limit} | {sense} {goal:g}{unit} | not measured: {failure!r} | |")
                print(lines[-1], flush=True)
                continue
            met = value >= goal if sense == AT_LEAST else value <= goal
            lines.append(f"| {name} | {limit} | {sense} {goal:g}{unit} | {value:.3g}{unit} | "
                         f"{'met' if met else '**missed**'} |")
            print(lines[-1], flush=True)
    finally:
        bench.stop()
    if arguments.markdown:
        with open(arguments.markdown, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
