"""The cases of the comparison: which work, at which origin, by whom, and what counts."""

import dataclasses
from typing import Callable

import contenders as c
import workloads as w

MOUNTS = (c.Rangecache, c.Rclone, c.Httpdirfs)
OF_BUCKETS = (c.Rangecache, c.Rclone, c.S3fs)


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of everything."""
    large_mib: int        # a file for streams and random reads
    shared_mib: int       # a file for many readers
    folders: int          # of a tree,
    files: int            # with so many files each
    small: int            # files of 64 KiB for many readers; a twentieth of them for one
    rows: int             # of the database, about 1 KiB each
    film_s: int
    fio_s: int
    repeats: int


FULL = Scale(1024, 64, 20, 100, 2000, 200_000, 120, 5, 3)
SMOKE = Scale(64, 16, 4, 25, 100, 20_000, 5, 1, 1)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    origin: str                      # near, far, near bucket or far bucket
    who: tuple
    work: Callable                   # (contender, scale) -> figures
    shown: str                       # the figure in the table
    unit: str
    more_is_better: bool = False
    also: tuple = ()                 # figures that are shown, too
    needs: str = ""                  # a program that does the work
    complete: bool = False           # everything is read once before, and the page cache dropped
    partly: bool = False             # the first three quarters of large.bin are, instead
    restart: bool = False            # and the program started anew
    asked: Callable = lambda scale: 0  # bytes that the program reads; 0: not compared

    def repeats(self, wanted):
        """The same native read of the same file takes half as long or twice as long the next time, on a disk
        that others share: a ratio to it needs more of them."""
        return 2 * wanted + 1 if c.Native in self.who and wanted > 1 else wanted


def _large(scale):
    return scale.large_mib * w.MIB


def _rate(name, size_mib):
    def work(contender, scale):
        figures = w.sequential(contender, name)
        figures["mb_s"] = size_mib(scale) * w.MIB / 1e6 / figures["seconds"]
        return figures
    return work


def _three_quarters(contender, scale):
    """Of an object that is not complete, and so never is one file."""
    amount = _large(scale) // 4 * 3
    return {"mb_s": amount / 1e6 / w.timed(lambda: w.read_through(contender.path("large.bin"), end=amount))}


def _stream_twice(contender, scale):
    w.read_through(contender.path("large.bin"))
    return _stream(contender, scale)


def _fio(pattern, block, jobs, warm):
    return lambda contender, scale: w.fio(contender, "large.bin", pattern, block, jobs,
                                          scale.fio_s if warm else 0)


def _small(count, readers):
    return lambda contender, scale: w.small_files(
        contender, [f"small/{i:05}.bin" for i in range(count(scale))], readers)


def _fio_cold(pattern, jobs, direct):
    return lambda contender, scale: w.fio_cold(contender, "large.bin", pattern, jobs, direct,
                                               scale.large_mib * w.MIB)


def _app(*command):
    return lambda contender, scale: w.application(contender, command)


CACHED = (c.Native, c.Rangecache, c.RangecacheWithoutPassthrough, c.Rclone, c.Httpdirfs)


def _first_bytes(contender, _):
    return w.first_bytes(contender, [f"first/{i * 5 % 12}.bin" for i in range(12)])


def _random(contender, scale):
    return w.random_reads(contender, "large.bin", _large(scale))


def _find(contender, scale):
    return w.walk(contender, "tree", scale.folders * scale.files)


_stream = _rate("large.bin", lambda scale: scale.large_mib)
_one_reader = _small(lambda scale: scale.small // 20, 1)

CASES = (
    Case("cold sequential, near", "near", (c.Curl, c.Aria2) + MOUNTS + (c.NginxSlice,),
         _stream, "mb_s", "MB/s", more_is_better=True, asked=_large),
    Case("cold sequential, far", "far", (c.Curl, c.Aria2) + MOUNTS + (c.NginxSlice,),
         _stream, "mb_s", "MB/s", more_is_better=True, asked=_large),
    Case("cold fio read 256 KiB, 4 jobs, near", "near", (c.Rangecache, c.Rclone),
         _fio_cold("read", 4, False), "mb_s", "MB/s", more_is_better=True, asked=_large, needs="fio"),
    Case("cold fio read 256 KiB direct, 1 job, far", "far", (c.Rangecache, c.Rclone),
         _fio_cold("read", 1, True), "mb_s", "MB/s", more_is_better=True, asked=_large, needs="fio"),
    Case("cold fio randread 256 KiB, 4 jobs, far", "far", (c.Rangecache, c.RangecacheFetchWhole, c.Rclone),
         _fio_cold("randread", 4, False), "mb_s", "MB/s", more_is_better=True,
         asked=lambda scale: 64 * w.MIB, needs="fio"),
    Case("open and first 4 KiB, far", "far", MOUNTS + (c.NginxSlice,),
         _first_bytes, "p50_ms", "ms"),
    Case("200 random 64 KiB, far", "far", MOUNTS + (c.NginxSlice,),
         _random, "origin_mb", "MB moved", also=("p50_ms", "p99_ms"),
         asked=lambda scale: 200 * 64 * w.KIB),
    Case("16 readers of one cold file, far", "far", MOUNTS,
         lambda contender, scale: w.many_readers(contender, "shared.bin"), "seconds", "s",
         asked=lambda scale: scale.shared_mib * w.MIB),
    Case("find in a cold tree, far", "far", MOUNTS, _find, "seconds", "s"),
    Case("small files, one reader, far", "far", (c.Curl16,) + MOUNTS, _one_reader,
         "seconds", "s", asked=lambda scale: scale.small // 20 * 64 * w.KIB),
    # httpdirfs takes four minutes for this one.
    Case("small files, 16 readers, far", "far", (c.Curl16, c.Rangecache, c.Rclone), _small(lambda s: s.small, 16),
         "seconds", "s", asked=lambda scale: scale.small * 64 * w.KIB),
    Case("64 readers of one cold file, near", "near", (c.Rangecache,),
         lambda contender, _: w.mixed_readers(contender, "shared.bin", 64), "seconds", "s",
         asked=lambda scale: scale.shared_mib * w.MIB),
    Case("300 look-ups in SQLite, far", "far", (c.Rangecache, c.RangecacheFetchWhole, c.Rclone, c.Httpdirfs),
         lambda contender, scale: w.index_lookups(contender, "rows.db", scale.rows), "origin_mb",
         "MB moved", also=("seconds",)),
    Case("grep -r, 100 files, far", "far", MOUNTS, _app("grep", "-rc", "x", "{}tree/00"), "seconds", "s",
         needs="grep"),
    Case("unzip one of 200 members, far", "far", MOUNTS, _app("unzip", "-p", "{}members.zip", "m150"),
         "origin_mb", "MB moved", also=("seconds",), needs="unzip"),
    Case("ffprobe of a film, far", "far", MOUNTS, _app("ffprobe", "{}film.mp4"), "origin_mb", "MB moved",
         also=("seconds",), needs="ffprobe"),
    Case("partly cached, sequential", "near", (c.Native,) + MOUNTS, _three_quarters, "mb_s", "MB/s",
         more_is_better=True, partly=True),
    Case("complete, sequential", "near", CACHED, _stream, "mb_s",
         "MB/s", more_is_better=True, complete=True),
    Case("complete, random 4 KiB, 1 job", "near", CACHED, _fio("randread", "4k", 1, False), "iops",
         "reads/s", more_is_better=True, complete=True, needs="fio"),
    Case("complete, random 4 KiB, 8 jobs", "near", CACHED, _fio("randread", "4k", 8, False), "iops",
         "reads/s", more_is_better=True, complete=True, needs="fio"),
    Case("complete, sequential 256 KiB, 4 jobs", "near", CACHED, _fio("read", "256k", 4, False),
         "mb_s", "MB/s", more_is_better=True, complete=True, needs="fio"),
    Case("hot, sequential", "near", CACHED, _stream_twice, "mb_s", "MB/s", more_is_better=True, complete=True),
    Case("hot, random 4 KiB, 1 job", "near", CACHED, _fio("randread", "4k", 1, True), "iops",
         "reads/s", more_is_better=True, complete=True, needs="fio"),
    Case("hot, random 4 KiB, 8 jobs", "near", CACHED, _fio("randread", "4k", 8, True), "iops",
         "reads/s", more_is_better=True, complete=True, needs="fio"),
    Case("restart, then re-read", "near", MOUNTS, _stream, "mb_s",
         "MB/s", more_is_better=True, complete=True, restart=True, asked=_large),
    Case("S3: cold sequential, near", "near bucket", (c.Curl,) + OF_BUCKETS, _stream, "mb_s", "MB/s",
         more_is_better=True, asked=_large),
    Case("S3: cold sequential, far", "far bucket", (c.Curl,) + OF_BUCKETS, _stream, "mb_s", "MB/s",
         more_is_better=True, asked=_large),
    Case("S3: open and first 4 KiB, far", "far bucket", OF_BUCKETS, _first_bytes, "p50_ms", "ms"),
    Case("S3: 200 random 64 KiB, far", "far bucket", OF_BUCKETS, _random, "origin_mb", "MB moved",
         also=("p50_ms", "p99_ms"), asked=lambda scale: 200 * 64 * w.KIB),
    Case("S3: find in a cold tree, far", "far bucket", OF_BUCKETS, _find, "seconds", "s"),
    Case("S3: small files, one reader, far", "far bucket", OF_BUCKETS, _one_reader, "seconds", "s",
         asked=lambda scale: scale.small // 20 * 64 * w.KIB),
    Case("S3: complete, sequential", "near bucket", (c.Native,) + OF_BUCKETS, _stream, "mb_s", "MB/s",
         more_is_better=True, complete=True),
)
