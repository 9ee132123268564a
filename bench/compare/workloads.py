"""The work: each function does it once with one contender and returns what it measured.

Times are of the work alone; the caller has started the contender, dropped the kernel's page cache, and made
the origin forget its traffic."""

import json
import os
import random
import sqlite3
import statistics
import subprocess
import threading
import time
import urllib.request

KIB, MIB = 1 << 10, 1 << 20


def drop_page_cache():
    subprocess.run(["sync"], check=True)
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")


def timed(action):
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def read_through(path, block=MIB, end=None):
    with open(path, "rb", buffering=0) as file:
        while (end is None or file.tell() < end) and file.read(block):
            pass


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def get_range(url, begin, length):
    request = urllib.request.Request(url, headers={"Range": f"bytes={begin}-{begin + length - 1}"})
    with urllib.request.urlopen(request) as response:
        return response.read()


def sequential(contender, name):
    """One reader, from begin to end."""
    if contender.kind == "tool":
        seconds = timed(lambda: contender.download(name))
        return {"seconds": seconds}
    if contender.kind == "url":
        return {"seconds": timed(lambda: subprocess.run(
            ["curl", "-s", "-o", "/dev/null", contender.url(name)], check=True))}
    return {"seconds": timed(lambda: read_through(contender.path(name)))}


def first_bytes(contender, names):
    """Open and read 4 KiB of files that nobody asked for before, one after the other."""
    times = []
    for name in names:
        if contender.kind == "url":
            times.append(timed(lambda name=name: get_range(contender.url(name), 0, 4096)))
            continue
        def first(name=name):
            fd = os.open(contender.path(name), os.O_RDONLY)
            try:
                assert len(os.pread(fd, 4096, 0)) == 4096
            finally:
                os.close(fd)
        times.append(timed(first))
    return {"first_ms": times[0] * 1000, "p50_ms": statistics.median(times[1:]) * 1000}


def random_reads(contender, name, size, count=200, length=64 * KIB, seed=1):
    """Reads of `length` at random places, one after the other."""
    places = [random.Random(seed + i).randrange(0, (size - length) // 4096) * 4096
              for i in range(count)]
    times = []
    if contender.kind == "url":
        for place in places:
            times.append(timed(lambda place=place: get_range(contender.url(name), place, length)))
    else:
        fd = os.open(contender.path(name), os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            for place in places:
                times.append(timed(lambda place=place: os.pread(fd, length, place)))
        finally:
            os.close(fd)
    return {"p50_ms": statistics.median(times) * 1000, "p99_ms": quantile(times, 0.99) * 1000,
            "asked_bytes": count * length}


def together(count, work):
    """`count` threads begin work(i) at once; returns the seconds until the last is done."""
    barrier = threading.Barrier(count + 1)
    failures = []

    def run(number):
        barrier.wait()
        try:
            work(number)
        except Exception as failure:  # shown by the caller
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.perf_counter() - began


def many_readers(contender, name, readers=16):
    return {"seconds": together(readers, lambda _: read_through(contender.path(name)))}


def mixed_readers(contender, name, readers):
    """Half of them through the mount, half through the client library."""
    def read(number):
        if number % 2:
            contender.read_by_library(name)
        else:
            read_through(contender.path(name))
    return {"seconds": together(readers, read)}


def walk(contender, name, files):
    """find with -size, as `ls -lR` or a backup would."""
    def find():
        found = subprocess.run(["find", contender.path(name), "-type", "f", "-size", "+0"],
                               check=True, stdout=subprocess.PIPE).stdout
        assert found.count(b"\n") == files, f"{found.count(10)} of {files} files"
    return {"seconds": timed(find)}


def small_files(contender, names, readers):
    """Each of `readers` reads its share of the files whole, in order."""
    if contender.kind == "tool":
        return {"seconds": timed(lambda: contender.fetch(names, readers))}
    shares = [names[i::readers] for i in range(readers)]
    def read_share(number):
        for name in shares[number]:
            read_through(contender.path(name))
    return {"seconds": together(readers, read_share)}


def index_lookups(contender, name, rows, count=300):
    """SELECT by primary key in a table much larger than what is read."""
    numbers = random.Random(7).sample(range(rows), count)
    def query():
        uri = f"file:{contender.path(name)}?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True)
        for number in numbers:
            row = connection.execute("SELECT length(body) FROM t WHERE id = ?", (number,)).fetchone()
            assert row is not None
        connection.close()
    return {"seconds": timed(query)}


def application(contender, command):
    """A program of the user's; "{}" in its arguments stands for the mounted folder."""
    arguments = [part.replace("{}", contender.path("")) for part in command]
    def run():
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {"seconds": timed(run)}


def fio_cold(contender, name, pattern, jobs, direct, size):
    """The shapes that mountpoint-s3 publishes: blocks of 256 KiB, 1 or 4 jobs, buffered or direct. Each job reads
    its share of the file in order, or 16 MiB at random places."""
    amount = size // jobs if pattern == "read" else 16 * MIB
    return run_fio([f"--filename={contender.path(name)}", f"--rw={pattern}", "--bs=256k",
                    f"--numjobs={jobs}", f"--direct={int(direct)}", f"--io_size={amount}",
                    f"--offset_increment={size // jobs if pattern == 'read' else 0}"])


def run_fio(arguments):
    done = subprocess.run(
        ["fio", "--name=x", "--readonly", "--ioengine=psync", "--randseed=42", "--group_reporting",
         "--invalidate=0", "--output-format=json", *arguments],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    read = json.loads(done[done.index(b"{"):])["jobs"][0]["read"]
    return {"iops": read["iops"], "mb_s": read["bw_bytes"] / 1e6}


def fio(contender, name, pattern, block, jobs, seconds):
    """Operations a second of what is complete. `seconds` 0: from the disk, so that each job reads a sixteenth
    of the file's bytes, none of them twice (or all of it once, in order); else from the page cache, for so long."""
    path = contender.path(name)
    if seconds:
        read_through(path)
        amount = [f"--runtime={seconds}", "--time_based"]
    else:
        share = 16 if pattern == "randread" else 1
        amount = [f"--io_size={os.path.getsize(path) // share}"]
    return run_fio([f"--filename={path}", f"--rw={pattern}", f"--bs={block}", f"--numjobs={jobs}",
                    *amount])
