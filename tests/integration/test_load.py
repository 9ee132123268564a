"""Many at once: what readers get, what the origin sends, and what memory it takes."""

import hashlib
import mmap
import os
import struct
import subprocess
import threading

from support import MIB, Api, IntegrationTest, main, sha256_of, wait_until, write_random
from test_promises import StalledServer

BUILD = os.environ["BUILD_DIR"]


def in_threads(work, arguments):
    """Calls work(argument) for all of them at once; gives the results in their order."""
    results = [None] * len(arguments)
    barrier = threading.Barrier(len(arguments))

    def run(index):
        barrier.wait()
        try:
            results[index] = work(arguments[index])
        except Exception as failure:  # compared with what was expected
            results[index] = failure

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(arguments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def digest_by_socket(path, url, size):
    """As a program in a language without a library would read."""
    digest = hashlib.sha256()
    with Api(path, timeout_s=120) as api:
        handle = struct.unpack_from("<Q", api.call(2, struct.pack("<I", len(url)) + url.encode()))[0]
        for offset in range(0, size, MIB):
            digest.update(api.call(4, struct.pack("<QQI", handle, offset, MIB)))
    return digest.hexdigest()


class MixedReaders(IntegrationTest):
    """64 programs read one cold file: by the mount, by the socket, with the library."""

    def test_the_origin_sends_it_once(self):
        size = 48 * MIB
        source = write_random(os.path.join(self.root, "cold.bin"), size)
        server = self.nginx()
        mount = self.daemon(server.url).start()
        url = server.url + "cold.bin"

        def digest(number):
            if number % 3 == 0:
                return sha256_of(mount.path("cold.bin"))
            if number % 3 == 1:
                return digest_by_socket(mount.socket, url, size)
            program = os.path.join(BUILD, "examples", "read_range_cpp")
            read = subprocess.run([program, url, "0", str(size)], env=mount.environment(),
                                  stdout=subprocess.PIPE, check=True, timeout=120)
            return hashlib.sha256(read.stdout).hexdigest()

        self.assertEqual([sha256_of(source)] * 64, in_threads(digest, list(range(64))))
        self.assertEqual(size, server.body_bytes("/cold.bin"))


class BoundedMemory(IntegrationTest):
    """64 streams, 1,000 open files and a server that has gone silent, in 64 MiB."""

    def test_memory_stays_within_its_limit(self):
        size = 4 * MIB
        streams = [f"stream{n}.bin" for n in range(64)]
        sources = {name: write_random(os.path.join(self.root, name), size, seed=n)
                   for n, name in enumerate(streams)}
        for n in range(1000):
            write_random(os.path.join(self.root, f"small{n}.bin"), 5000, seed=n)
        server = self.nginx()
        stalled = StalledServer()
        self.addCleanup(stalled.stop)
        urls = os.path.join(self.directory, "urls")
        with open(urls, "w", encoding="utf-8") as file:
            file.writelines(f"{server.url}{name}\n" for name in streams)
            file.writelines(f"{server.url}small{n}.bin\n" for n in range(1000))
            file.writelines(f"http://127.0.0.1:{stalled.server_address[1]}/{n}.bin stalled{n}\n"
                            for n in range(40))
        mount = self.daemon(urls=urls, memory_limit="64MiB").start()

        waiting = [subprocess.Popen(["cat", mount.path(f"stalled{n}")], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL) for n in range(40)]
        self.addCleanup(lambda: [(reader.kill(), reader.wait()) for reader in waiting])
        wait_until(lambda: mount.metric("rangecache_flights") >= 6, "reads wait for the server")

        opened = [os.open(mount.path(f"small{n}.bin"), os.O_RDONLY) for n in range(1000)]
        self.addCleanup(lambda: [os.close(fd) for fd in opened])
        for n, fd in enumerate(opened):
            with open(os.path.join(self.root, f"small{n}.bin"), "rb") as source:
                self.assertEqual(source.read(), os.read(fd, 10_000), n)
        digests = in_threads(lambda name: sha256_of(mount.path(name)), streams)
        self.assertEqual([sha256_of(sources[name]) for name in streams], digests)

        self.assertTrue(all(reader.poll() is None for reader in waiting), "nobody waits any more")
        # What is not object bytes (programs, stacks, curl, the index) has a share of its own.
        self.assertLess(self._peak_bytes(mount.pid), (64 + 64) * MIB)

    def test_reads_across_parts_do_not_hold_each_other_up(self):
        # Each read wants the end of one part and the begin of the next: were the memory of the first kept until
        # the other has come, 64 such reads would hold all of it, and none would ever end.
        length, share = MIB - 4096, 8 * MIB
        source = write_random(os.path.join(self.root, "file.bin"), 64 * share)
        server = self.nginx()
        for options in ({}, {"admission": "second-use"}):
            mount = self.daemon(server.url, memory_limit="64MiB", cache_size="2GiB", **options).start()

            def read_share(number, mount=mount):
                fd = os.open(mount.path("file.bin"), os.O_RDONLY | os.O_DIRECT)
                with mmap.mmap(-1, length) as buffer, open(source, "rb") as expected:
                    for at in range(number * share + 512 * 1024, (number + 1) * share - length, length):
                        self.assertEqual(length, os.preadv(fd, [buffer], at))
                        expected.seek(at)
                        self.assertEqual(expected.read(length), buffer[:], at)
                os.close(fd)

            self.assertEqual([None] * 64, in_threads(read_share, range(64)))
            self.assertLess(self._peak_bytes(mount.pid), (64 + 2 * 64) * MIB)
            mount.stop()

    @staticmethod
    def _peak_bytes(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
