"""The promises that only a real server, a real mount and real deaths can show."""

import errno
import hashlib
import http.server
import multiprocessing
import os
import re
import subprocess
import threading
import time

from support import (CACHECTL, MIB, DuSampler, IntegrationTest, disk_use, files_below, main, run,
                     sha256_of, wait_until, write_random)

# A chunk's file is called after its half-open range in hexadecimal (docs/DISK_FORMAT.md).
CHUNK_NAME = re.compile(r"^[0-9a-f]{16}-[0-9a-f]{16}$")


def _digest_of(path, start, results):
    start.wait()
    results.put(sha256_of(path))


class SixteenReaders(IntegrationTest):
    """16 processes read one cold file at once."""

    def test_the_origin_sends_it_once(self):
        size = 64 * MIB
        source = write_random(os.path.join(self.root, "cold.bin"), size)
        server = self.nginx()
        mount = self.daemon(server.url).start()
        context = multiprocessing.get_context("fork")
        start, results = context.Event(), context.Queue()
        readers = [context.Process(target=_digest_of, args=(mount.path("cold.bin"), start, results))
                   for _ in range(16)]
        for reader in readers:
            reader.start()
        start.set()
        digests = [results.get(timeout=200) for _ in readers]
        for reader in readers:
            reader.join()
        self.assertEqual([sha256_of(source)] * 16, digests)
        self.assertLessEqual(server.body_bytes(), 1.02 * size)
        self.assertGreaterEqual(server.body_bytes(), size)


class KillAndRestart(IntegrationTest):
    """SIGKILL in the middle of a transfer."""

    def test_right_bytes_and_nothing_kept_is_fetched_again(self):
        size = 64 * MIB
        source = write_random(os.path.join(self.root, "file.bin"), size)
        server = self.nginx("    limit_rate 16m;")  # slow enough to be killed on the way
        mount = self.daemon(server.url).start()

        reader = threading.Thread(target=self._read_until_it_fails, args=(mount.path("file.bin"),))
        reader.start()
        wait_until(lambda: disk_use(mount.cache_dir) > size // 3, "a third of it is on disk", 60)
        mount.kill9()
        reader.join(60)
        self.assertFalse(reader.is_alive(), "a reader hangs on the dead mount")
        kept = self._bytes_of_renamed_chunks(mount.cache_dir)
        self.assertGreater(kept, size // 8, "hardly anything had been renamed when it died")
        self.assertLess(kept, size)

        server.forget()
        mount.start()  # over the dead mount that the killed daemon has left
        self.assertEqual(sha256_of(source), sha256_of(mount.path("file.bin")))
        self.assertLessEqual(server.body_bytes(), size - kept)
        # What the new daemon is writing goes away, debris of the killed one would not.
        wait_until(lambda: not self._temporary_files(mount.cache_dir), "there is no debris")

        server.forget()
        mount.restart()
        self.assertEqual(sha256_of(source), sha256_of(mount.path("file.bin")))
        self.assertEqual(server.body_bytes(), 0)

    @staticmethod
    def _read_until_it_fails(path):
        try:
            sha256_of(path)
        except OSError:
            pass

    @staticmethod
    def _files(directory):
        return [name for _, _, names in os.walk(directory) for name in names]

    def _bytes_of_renamed_chunks(self, directory):
        """Of the one object; a kill in the middle of a merge leaves bytes in two files."""
        names = [name.split("-") for name in self._files(directory) if CHUNK_NAME.match(name)]
        total = covered = 0
        for begin, end in sorted((int(begin, 16), int(end, 16)) for begin, end in names):
            total += max(0, end - max(begin, covered))
            covered = max(covered, end)
        return total

    def _temporary_files(self, directory):
        return os.listdir(os.path.join(directory, "tmp"))


class PeacefulRestart(IntegrationTest):
    """An orderly restart keeps everything."""

    def test_nothing_is_fetched_again(self):
        source = write_random(os.path.join(self.root, "file.bin"), 32 * MIB)
        os.makedirs(os.path.join(self.root, "small"))
        for n in range(50):
            write_random(os.path.join(self.root, "small", f"{n}.bin"), 1000 + n, seed=n)
        server = self.nginx()
        mount = self.daemon(server.url).start()
        before = self._digests(mount)
        self.assertEqual(sha256_of(source), before["file.bin"])

        mount.stop()
        server.forget()
        mount.start()
        self.assertEqual(before, self._digests(mount))
        self.assertEqual(server.body_bytes(), 0)
        asked = [r for r in server.requests() if not r["uri"].endswith("/")]
        self.assertLessEqual(len(asked), 2 * 51, "more than a revalidation for each file")

    @staticmethod
    def _digests(mount):
        return {name: sha256_of(mount.path(name))
                for name in ["file.bin", *(f"small/{n}.bin" for n in range(50))]}


class Freshness(IntegrationTest):
    """What is known is not asked for again: in this run, in the next, and without the origin."""

    def setUp(self):
        super().setUp()
        for n in range(40):
            directory = os.path.join(self.root, f"dir{n % 4}")
            os.makedirs(directory, exist_ok=True)
            write_random(os.path.join(directory, f"file{n:02}"), 20_000 + n, seed=n)
        self.server = self.nginx()

    def test_a_warm_tree_costs_no_request_and_a_restart_forgets_nothing(self):
        mount = self.daemon(self.server.url, freshness="ttl=1h").start()
        files = files_below(mount.mountpoint)
        self.assertEqual(files_below(self.root), files)
        sums = {name: sha256_of(mount.path(name)) for name in files}
        self.assert_errno(errno.ENOENT, os.stat, mount.path("dir0", "none"))
        self.server.forget()
        for _ in range(2):
            self.assertEqual(files, files_below(mount.mountpoint))
            self.assertEqual(sums, {name: sha256_of(mount.path(name)) for name in files})
            run("find", mount.mountpoint, "-type", "f", "-size", "+1k")
            mount.restart()
        self.assertEqual([], self.server.requests())

    def test_refresh_asks_again_and_fetches_only_what_changed(self):
        mount = self.daemon(self.server.url, freshness="immutable").start()
        for name in files_below(mount.mountpoint):
            sha256_of(mount.path(name))
        new = write_random(os.path.join(self.root, "dir1", "file05"), 30_000, seed=99)
        write_random(os.path.join(self.root, "dir1", "new"), 10, seed=1)
        self.assertNotEqual(sha256_of(new), sha256_of(mount.path("dir1", "file05")))
        self.server.forget()
        said = run(CACHECTL, "--socket", mount.socket, "refresh", self.server.url + "dir1/")
        self.assertEqual(b"10 objects and 1 directories will be asked for again\n", said)
        self.assertEqual(sha256_of(new), sha256_of(mount.path("dir1", "file05")))
        self.assertIn("new", os.listdir(mount.path("dir1")))
        for n in range(1, 40, 4):
            sha256_of(mount.path("dir1", f"file{n:02}"))
        sha256_of(mount.path("dir2", "file06"))
        # The new one lies between those that are read in order: it may be fetched ahead.
        self.assertIn(self.server.body_bytes(), (30_000, 30_010))
        self.assertEqual([], self.server.requests("/dir2/"))

    def test_without_the_origin_what_is_cached_is_read_and_the_rest_fails_at_once(self):
        mount = self.daemon(self.server.url, freshness="ttl=1s", stale_if_error="1h").start()
        sums = {name: sha256_of(mount.path(name)) for name in files_below(mount.mountpoint)
                if not name.startswith("dir3")}
        self.server.stop()
        path = mount.path("dir0", "file00")
        wait_until(lambda: os.getxattr(path, "user.rangecache.stale") == b"1", "its time is over")
        self.assertEqual(sums, {name: sha256_of(mount.path(name)) for name in sums})
        self.assertIn(b"(stale)", run(CACHECTL, "--socket", mount.socket, "ls"))
        self.assertGreater(mount.metric("rangecache_stale_served_total"), 0)
        wait_until(lambda: self._fails(mount.path("dir3", "file03"))
                   and mount.metric("rangecache_origins_unreachable") == 1,
                   "the daemon knows that the origin is gone")
        stats = run(CACHECTL, "--socket", mount.socket, "stats").decode()
        self.assertIn("does not answer", stats)

        # The policy offline needs no origin at all, not even at the start.
        mount.options.update(freshness="offline")
        mount.options.pop("stale-if-error")
        mount.restart()
        self.assertEqual(files_below(self.root), files_below(mount.mountpoint))
        self.assertEqual(sums, {name: sha256_of(mount.path(name)) for name in sums})
        self.assert_errno(errno.EIO, sha256_of, mount.path("dir3", "file03"))

    @staticmethod
    def _fails(path):
        try:
            sha256_of(path)
            return False
        except OSError:
            return True


class Passthrough(IntegrationTest):
    """Complete files are read by the kernel itself, and stay right whatever happens to them."""

    SIZE = 8 * MIB

    def setUp(self):
        super().setUp()
        self.source = write_random(os.path.join(self.root, "file.bin"), self.SIZE)
        self.sum = sha256_of(self.source)
        self.server = self.nginx()

    def complete(self, mount):
        """Reads the file, and waits until it is one chunk."""
        self.assertEqual(self.sum, sha256_of(mount.path("file.bin")))
        wait_until(lambda: mount.metric("rangecache_unwritten_bytes") == 0
                   and mount.metric("rangecache_chunks") == 1, "its chunks are one file")

    @staticmethod
    def listed(mount):
        return run(CACHECTL, "--socket", mount.socket, "ls").decode()

    @staticmethod
    def stats(mount):
        return run(CACHECTL, "--socket", mount.socket, "stats").decode()

    def test_it_is_shown_and_outlives_eviction_and_change(self):
        mount = self.daemon(self.server.url, freshness="always").start()
        self.complete(mount)
        with open(mount.path("file.bin"), "rb", buffering=0) as old:
            if mount.metric("rangecache_passthrough_files") == 0:
                self.skipTest("the kernel does not read files by itself here: "
                              "Linux 6.9 and CAP_SYS_ADMIN are needed")
            self.assertIn("(pass-through)", self.listed(mount))
            self.assertIn("1 open, 1 of them read by the kernel itself", self.stats(mount))
            requests = mount.metric("rangecache_read_requests_total")
            self.assertEqual(self.sum, sha256_of(mount.path("file.bin")))
            self.assertEqual(requests, mount.metric("rangecache_read_requests_total"))

            run(CACHECTL, "--socket", mount.socket, "evict", "--all")
            self.assertGreaterEqual(mount.metric("rangecache_disk_bytes"), self.SIZE,
                                    "the space of a file that is still read is still used")
            self.assertEqual(self.sum, sha256_of(mount.path("file.bin")))

            write_random(self.source, self.SIZE, seed=7)
            new_sum = sha256_of(self.source)
            self.assertEqual(new_sum, sha256_of(mount.path("file.bin")))
            old.seek(0)
            self.assertEqual(self.sum, hashlib.sha256(old.read()).hexdigest())
        wait_until(lambda: mount.metric("rangecache_passthrough_files") == 0, "it is closed")
        self.assertNotIn("(pass-through)", self.listed(mount))

    def test_it_can_be_switched_off(self):
        mount = self.daemon(self.server.url, no_passthrough=True).start()
        self.complete(mount)
        with open(mount.path("file.bin"), "rb") as file:
            self.assertEqual(self.sum, hashlib.sha256(file.read()).hexdigest())
            self.assertEqual(0, mount.metric("rangecache_passthrough_files"))
            self.assertIn("1 open; no pass-through", self.stats(mount))


class PinsAndQuotas(IntegrationTest):
    """Quotas keep one tree from taking the cache; pins keep another in it, over a restart."""

    def test_a_quota_leaves_the_words_after_it_alone(self):
        daemon = self.daemon(self.nginx().url)
        started = daemon.try_start("--quota", "http://a/=4MiB", "--quota", "http://b/=1GiB")
        self.assertEqual(0, started.returncode, started.stderr)
        self.assertEqual(["http://a/", "http://b/"], [quota["prefix"] for quota in daemon.stats()["quotas"]])
        daemon.pid = daemon.stats()["pid"]

    def test_what_is_pinned_stays_and_a_quota_holds(self):
        for tree in ("scratch", "keep", "bulk"):
            os.makedirs(os.path.join(self.root, tree))
            for n in range(12):
                write_random(os.path.join(self.root, tree, f"{n}.bin"), MIB, seed=n)
        server = self.nginx()
        mount = self.daemon(server.url, cache_size="30MiB",
                            quota=f"{server.url}scratch/=4MiB").start()
        self.assertIn("is pinned", self._cachectl(mount, "pin", server.url + "keep/"))
        wait_until(lambda: self._bytes_for(mount, server, "keep") == 0, "what is pinned is on disk")
        for tree in ("scratch", "bulk", "scratch", "bulk"):
            self._read(mount, tree)
            self.assertLessEqual(mount.stats()["quotas"][0]["used"], 4 * MIB)
        self.assertGreater(mount.stats()["quotas"][0]["used"], MIB)
        self.assertLessEqual(disk_use(mount.cache_dir), 30 * MIB)
        self.assertRegex(self._cachectl(mount, "stats"), r"quota .* of 4\.0 MiB for .*scratch/\n")

        mount.restart()
        self.assertIn(server.url + "keep/", self._cachectl(mount, "pins"))
        self.assertEqual(0, self._bytes_for(mount, server, "keep"))
        self._cachectl(mount, "unpin", server.url + "keep/")
        self.assertNotIn(server.url + "keep/", self._cachectl(mount, "pins"))

    def _bytes_for(self, mount, server, tree):
        server.forget()
        self._read(mount, tree)
        return server.body_bytes()

    def _read(self, mount, tree):
        for n in range(12):
            name = os.path.join(tree, f"{n}.bin")
            self.assertEqual(sha256_of(os.path.join(self.root, name)), sha256_of(mount.path(name)))

    @staticmethod
    def _cachectl(mount, *arguments):
        return run(os.environ["CACHECTL"], "--socket", mount.socket, *arguments).decode()

class Verify(IntegrationTest):
    """Bytes rot in the cache directory: cachectl verify finds them, --repair mends them."""

    def test_a_flipped_bit_is_found_named_and_mended(self):
        source = write_random(os.path.join(self.root, "file.bin"), 24 * MIB)
        server = self.nginx()
        mount = self.daemon(server.url, merge_rate=0).start()
        self.assertEqual(sha256_of(source), sha256_of(mount.path("file.bin")))
        wait_until(lambda: self._cached(mount) == 24 * MIB, "all of it is on disk")
        done = self._verify(mount)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertIn("24.0 MiB in", done.stdout)

        self._flip_a_bit(mount)
        done = self._verify(mount, server.url)
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stdout, rf"bad  {server.url}file.bin  bytes \d+ to \d+\n")
        self.assertIn("1 bad, dropped", done.stdout)
        self.assertEqual(0, self._verify(mount).returncode)

        self._flip_a_bit(mount)
        server.forget()
        done = self._verify(mount, "--repair")
        self.assertEqual(1, done.returncode)
        self.assertIn("1 fetched again", done.stdout)
        fetched = server.body_bytes()
        self.assertGreater(fetched, 0)
        self.assertLess(fetched, 24 * MIB)
        read = run(os.environ["CACHECTL"], "--socket", mount.socket, "cat", server.url + "file.bin")
        with open(source, "rb") as file:
            self.assertEqual(file.read(), read)

    @staticmethod
    def _verify(mount, *arguments):
        return subprocess.run([os.environ["CACHECTL"], "--socket", mount.socket, "verify",
                               *arguments], capture_output=True, text=True, timeout=60)

    @staticmethod
    def _cached(mount):
        return sum(os.path.getsize(path) for path in Verify._chunks(mount))

    @staticmethod
    def _chunks(mount):
        for directory, _, names in os.walk(os.path.join(mount.cache_dir, "objects")):
            yield from (os.path.join(directory, name) for name in names if CHUNK_NAME.match(name))

    @staticmethod
    def _flip_a_bit(mount):
        path = max(Verify._chunks(mount), key=os.path.getsize)
        with open(path, "r+b") as chunk:
            chunk.seek(1000)
            byte = chunk.read(1)[0]
            chunk.seek(1000)
            chunk.write(bytes([byte ^ 1]))


class FetchWhole(IntegrationTest):
    """--fetch-whole: a small file that is read at random comes as a whole; a larger one does not."""

    def test_only_what_is_small_enough_and_read_at_random(self):
        self.check(lambda server: {"fetch_whole": "24MiB"})

    def test_it_may_hold_for_one_server_only(self):
        def options(server):
            path = os.path.join(self.directory, "rangecached.toml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(f'[[origin]]\nurl = "{server.url}"\nfetch-whole = "24MiB"\n')
            return {"config": path}
        self.check(options)

    def check(self, options):
        sums = {}
        for name, size in (("small.bin", 24 * MIB), ("large.bin", 25 * MIB)):
            sums[name] = sha256_of(write_random(os.path.join(self.root, name), size))
        server = self.nginx()
        mount = self.daemon(server.url, **options(server)).start()
        for name in ("large.bin", "small.bin"):
            with open(mount.path(name), "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                for place in (20, 5, 15, 10, 1):
                    os.pread(file.fileno(), 4096, place * MIB)
            if name == "large.bin":
                self.assertLess(server.body_bytes(), MIB)
        wait_until(lambda: mount.metric("rangecache_unwritten_bytes") == 0
                   and server.body_bytes() >= 24 * MIB, "the small one has come")
        moved = server.body_bytes()
        self.assertLess(moved, 25 * MIB)
        self.assertEqual(sums["small.bin"], sha256_of(mount.path("small.bin")))
        self.assertEqual(moved, server.body_bytes(), "nothing of it was fetched again")


class ChangingFile(IntegrationTest):
    """The file changes on the server while a handle is open and half of it is cached."""

    size = 64 * MIB

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.root, "changing.bin")
        self._put(b"A")
        self.server = self.nginx()
        self.mount = self.daemon(self.server.url, freshness="always").start()

    def _put(self, letter, size=None):
        # As deployments do it: a new file takes the name in one step.
        with open(self.path + ".new", "wb") as file:
            file.write(letter * (size or self.size))
        os.utime(self.path + ".new", (time.time(), 1_600_000_000 + letter[0]))
        os.rename(self.path + ".new", self.path)

    def test_an_old_handle_gives_old_bytes_or_estale_and_a_new_open_the_new_file(self):
        name = self.mount.path("changing.bin")
        old = os.open(name, os.O_RDONLY)
        self.addCleanup(os.close, old)
        half = self.size // 2
        for offset in reversed(range(0, half, MIB)):  # backwards: nothing is read ahead to the end
            self.assertEqual(b"A" * MIB, os.pread(old, MIB, offset))
        self.assertLess(self.server.body_bytes(), 0.9 * self.size)

        self._put(b"B", self.size + 5)
        with open(name, "rb") as file:
            self.assertEqual(b"B" * (self.size + 5), file.read())
        self.assertEqual(self.size + 5, os.stat(name).st_size)

        stale = 0
        for offset in range(0, self.size, MIB):
            try:
                data = os.pread(old, MIB, offset)
            except OSError as error:
                self.assertEqual(errno.ESTALE, error.errno)
                stale += 1
                continue
            self.assertEqual(b"A" * len(data), data, f"another version's bytes at {offset}")
        self.assertGreater(stale, 0, "the uncached end cannot come from anywhere")
        self.assertLess(stale, self.size // MIB, "what was cached of the old version is lost")

    def test_a_change_of_the_same_size_is_not_mixed_either(self):
        name = self.mount.path("changing.bin")
        with open(name, "rb", buffering=0) as old:
            self.assertEqual(b"A" * 4096, old.read(4096))
            self._put(b"B")
            old.seek(self.size - 4096)
            try:
                self.assertEqual(b"A" * 4096, old.read(4096))
            except OSError as error:
                self.assertEqual(errno.ESTALE, error.errno)
        with open(name, "rb") as new:
            self.assertEqual(b"B" * self.size, new.read())

    def test_a_file_that_is_removed_is_gone(self):
        name = self.mount.path("changing.bin")
        with open(name, "rb") as file:
            file.read(4096)
        os.remove(self.path)
        self.assert_errno(errno.ENOENT, os.open, name, os.O_RDONLY)


class HardLimit(IntegrationTest):
    """A cache of 64 MiB, a file of 1 GiB."""

    def test_disk_use_never_exceeds_the_limit(self):
        size, limit = 1024 * MIB, 64 * MIB
        source = write_random(os.path.join(self.root, "big.bin"), size)
        expected = sha256_of(source)
        server = self.nginx()
        mount = self.daemon(server.url, cache_size="64MiB").start()
        with DuSampler(mount.cache_dir) as disk:
            self.assertEqual(expected, sha256_of(mount.path("big.bin")))
        self.assertGreater(disk.samples, 20)
        self.assertLessEqual(disk.highest, limit)
        self.assertGreater(disk.highest, limit // 2, "the cache was hardly used")
        # What flows through a small cache is not fetched twice for that.
        self.assertLessEqual(server.body_bytes(), 1.1 * size)
        # And a restart does not start over the limit either.
        with DuSampler(mount.cache_dir) as disk:
            mount.restart()
            with open(mount.path("big.bin"), "rb") as file:
                file.seek(size // 2)
                file.read(100 * MIB)
        self.assertLessEqual(disk.highest, limit)


class StalledServer(http.server.ThreadingHTTPServer):
    """Promises bytes, sends a few of them, and then nothing until it is released."""

    daemon_threads = True
    size = 8 * MIB

    def __init__(self):
        self.released = threading.Event()
        self.asked = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.answer(200, self.server.size)

            def do_GET(self):
                self.server.asked += 1
                first, last = 0, self.server.size - 1
                if asked := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                    first, last = int(asked[1]), int(asked[2] or last)
                self.answer(206, last + 1 - first, f"bytes {first}-{last}/{self.server.size}")
                self.wfile.write(b"S" * 100)
                self.wfile.flush()
                self.server.released.wait()
                self.close_connection = True

            def answer(self, status, length, content_range=None):
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.send_header("ETag", '"stalled"')
                self.send_header("Accept-Ranges", "bytes")
                if content_range:
                    self.send_header("Content-Range", content_range)
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self):
        self.released.set()
        self.shutdown()
        self.server_close()


class StalledOrigin(IntegrationTest):
    """Forty programs wait for a server that has gone silent."""

    def test_other_files_are_served_and_waiting_programs_can_be_ended(self):
        write_random(os.path.join(self.root, "good.bin"), 8 * MIB)
        server = self.nginx()
        stalled = StalledServer()
        self.addCleanup(stalled.stop)
        port = stalled.server_address[1]
        urls = os.path.join(self.directory, "urls")
        with open(urls, "w", encoding="utf-8") as file:
            file.write(f"# one good, many stalled\n{server.url}good.bin\n")
            file.writelines(f"http://127.0.0.1:{port}/{n}.bin stalled{n}\n" for n in range(40))
        mount = self.daemon(urls=urls).start()

        readers = [subprocess.Popen(["cat", mount.path(f"stalled{n}")], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL) for n in range(40)]
        self.addCleanup(lambda: [(reader.kill(), reader.wait()) for reader in readers])
        wait_until(lambda: mount.metric("rangecache_flights") >= 6, "reads wait for the server")
        began = time.monotonic()
        self.assertEqual(sha256_of(os.path.join(self.root, "good.bin")),
                         sha256_of(mount.path("good.bin")))
        self.assertLess(time.monotonic() - began, 10, "the silent server holds up another's file")
        self.assertTrue(all(reader.poll() is None for reader in readers), "nobody waits")

        for reader in readers:
            reader.terminate()
        for reader in readers:
            reader.wait(timeout=10)
        began = time.monotonic()
        mount.stop()
        self.assertLess(time.monotonic() - began, 10, "the silent server holds up the end")


if __name__ == "__main__":
    main()
