"""The cache on a small disk of its own that others fill up and make read-only."""

import os
import shutil
import subprocess
import unittest

from support import MIB, IntegrationTest, main, sha256_of, wait_until, write_random


class SmallDisk:
    """An ext4 of `size_mib` in a file, mounted at `path`. Raises SkipTest where that cannot be."""

    def __init__(self, directory, size_mib):
        self.path = os.path.join(directory, "disk")
        image = os.path.join(directory, "disk.img")
        os.mkdir(self.path)
        if os.geteuid() != 0:
            raise unittest.SkipTest("only root can mount a small disk")
        mkfs = shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if not mkfs:
            raise unittest.SkipTest("mkfs.ext4 is missing")
        with open(image, "wb") as file:
            file.truncate(size_mib * MIB)
        for command in ([mkfs, "-q", "-F", "-m", "0", image],
                        ["mount", "-o", "loop", image, self.path]):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, check=False)
            if done.returncode != 0:
                raise unittest.SkipTest(f"{command[0]} cannot do it here: {done.stdout.strip()}")

    def free(self):
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self):
        """What dd if=/dev/zero does: until there is not a byte left."""
        self.filler = os.path.join(self.path, "filler")
        subprocess.run(["dd", "if=/dev/zero", f"of={self.filler}", "bs=64K", "conv=notrunc",
                        "oflag=append"], stderr=subprocess.DEVNULL, check=False)

    def clear(self):
        os.unlink(self.filler)

    def make_read_only(self, directory):
        """As a remount does, for every name below `directory`. A remount itself is refused by the
        kernel while the daemon has its journal open."""
        subprocess.run(["mount", "--bind", directory, directory], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)

    def make_writable(self, directory):
        subprocess.run(["umount", "--lazy", directory], check=True)

    def unmount(self):
        subprocess.run(["umount", "--lazy", "--recursive", self.path], check=False,
                       stderr=subprocess.DEVNULL)


class TroubledDisk(IntegrationTest):
    """A cache of 48 MiB on a disk of 96 MiB."""

    COUNT, SIZE = 8, 4 * MIB
    FLOOR = 8 * MIB

    def setUp(self):
        super().setUp()
        self.disk = SmallDisk(self.directory, 96)
        self.addCleanup(self.disk.unmount)
        self.sums = {}
        for number in range(self.COUNT):
            name = f"{number}.bin"
            path = write_random(os.path.join(self.root, name), self.SIZE, seed=number + 1)
            self.sums[name] = sha256_of(path)
        self.server = self.nginx()
        self.mount = self.daemon(self.server.url, cache_size="48MiB",
                                 keep_free=f"{self.FLOOR >> 20}MiB")
        self.mount.cache_dir = os.path.join(self.disk.path, "cache")
        self.mount.start()

    def read_all(self):
        """Every file through the mount, and none from the kernel's page cache."""
        for name, expected in self.sums.items():
            fd = os.open(self.mount.path(name), os.O_RDONLY)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
            self.assertEqual(expected, sha256_of(self.mount.path(name)), name)

    def read_until_kept(self):
        def all_is_kept():
            self.server.forget()
            self.read_all()
            return self.server.body_bytes() == 0
        wait_until(all_is_kept, "all is read from the cache", 60)
        # What came from memory may still have to be written.
        wait_until(lambda: self.mount.metric("rangecache_unwritten_bytes") == 0, "all is written", 60)

    def test_others_fill_it_and_leave_again(self):
        self.read_until_kept()
        self.disk.fill()
        wait_until(lambda: self.disk.free() >= self.FLOOR, "the cache has given way")
        self.read_all()
        for _ in range(20):  # they go on until the cache has nothing left to give
            self.disk.fill()
            self.read_all()
            wait_until(lambda: self.mount.metric("rangecache_chunks") == 0
                       or self.disk.free() >= self.FLOOR, "the cache has given way")
            if self.disk.free() < self.FLOOR:
                break
        wait_until(lambda: self.mount.metric("rangecache_disk_below_floor") == 1,
                   "the daemon says that the disk is full")
        self.read_all()
        self.assertIn("the cache gives way", self.mount.log())
        self.disk.clear()
        wait_until(lambda: self.mount.metric("rangecache_disk_below_floor") == 0,
                   "the daemon has seen that there is room")
        self.read_until_kept()

    def test_it_becomes_read_only_and_writable_again(self):
        some = dict(list(self.sums.items())[:2])
        everything, self.sums = self.sums, some
        self.read_until_kept()
        self.sums = everything
        self.disk.make_read_only(self.mount.cache_dir)
        self.server.forget()
        self.read_all()
        for name in some:
            self.assertEqual(0, self.server.body_bytes("/" + name), "what is there can be read")
        wait_until(lambda: self.mount.metric("rangecache_disk_breaker_open") == 1,
                   "the daemon leaves the disk alone")
        self.read_all()
        self.assertEqual(1, self.mount.log().count("the cache disk fails"))
        self.disk.make_writable(self.mount.cache_dir)
        wait_until(lambda: self.mount.metric("rangecache_disk_breaker_open") == 0,
                   "the daemon uses the disk again", 90)
        self.read_until_kept()
        self.mount.restart()
        self.server.forget()
        self.read_all()
        self.assertEqual(0, self.server.body_bytes(), "all of it outlives a restart")


if __name__ == "__main__":
    main()
