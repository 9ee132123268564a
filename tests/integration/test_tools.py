"""Everyday programs on a mount of nginx: right results, and no more bytes than they needed."""

import json
import os
import shutil
import sqlite3
import subprocess
import zipfile

from support import MIB, IntegrationTest, files_below, main, run, sha256_of, write_random

ODD_NAMES = [
    "with space.txt", "per%cent.txt", "per%25cent.txt", "hash#tag.txt", "question?.txt",
    "plus+plus.txt", 'double"quote.txt', "single'quote.txt", "umlaut-äöü-日本.txt",
    "amp&ersand;.txt", "less<than>.txt", "colon:name.txt", "back\\slash.txt",
    "a-name-that-is-longer-than-the-fifty-characters-which-nginx-shows-of-it.txt",
]
HIDDEN = ".hidden.txt"  # nginx lists no dot files; they can still be opened by name


def make_tree(root, directories=20, files=100):
    for directory in range(directories):
        path = os.path.join(root, f"dir{directory:02}")
        os.makedirs(path)
        for file in range(files):
            with open(os.path.join(path, f"file{file:03}.txt"), "w", encoding="utf-8") as out:
                out.write(f"file {file} of directory {directory}\n" * (1 + file % 17))
    odd = os.path.join(root, "odd names #1")
    os.makedirs(odd)
    for name in [*ODD_NAMES, HIDDEN]:
        with open(os.path.join(odd, name), "w", encoding="utf-8") as out:
            out.write(f"the name is {name}\n")
    open(os.path.join(odd, "empty.txt"), "wb").close()


class Tree(IntegrationTest):
    """2,000 small files and odd names."""

    def setUp(self):
        super().setUp()
        make_tree(self.root)
        self.server = self.nginx()
        # The tree does not change: what the daemon asks again for is not what is tried here.
        self.mount = self.daemon(self.server.url, freshness="ttl=1h").start()
        self.names = files_below(self.root)
        self.listed = [name for name in self.names if os.path.basename(name) != HIDDEN]
        self.total = sum(os.path.getsize(os.path.join(self.root, name)) for name in self.names)

    def test_everything_equals_the_source_and_is_fetched_once(self):
        self.assertGreaterEqual(len(self.names), 2000)
        self.assertEqual(self.listed, files_below(self.mount.mountpoint))
        for name in self.names:
            self.assertEqual(sha256_of(os.path.join(self.root, name)),
                             sha256_of(self.mount.path(name)), name)
            self.assertEqual(os.path.getsize(os.path.join(self.root, name)),
                             os.path.getsize(self.mount.path(name)), name)
        self.assertEqual(self.server.body_bytes(), self.total)
        fetches = [r for r in self.server.requests()
                   if r["method"] == "GET" and not r["uri"].endswith("/")]
        self.assertLessEqual(len(fetches), len(self.names))
        self.assertLess(len({r["connection"] for r in fetches}), 100, "connections are kept")

        self.server.forget()
        for name in self.names:
            sha256_of(self.mount.path(name))
        self.assertEqual(self.server.body_bytes(), 0)

    def test_find_reads_no_file(self):
        found = run("find", self.mount.mountpoint, "-type", "f", "-name", "*.txt", "-print0")
        self.assertEqual(len(self.listed), found.count(b"\0"))
        self.assertEqual(self.server.body_bytes(), 0)

    def test_cp_grep_and_tar(self):
        copy = os.path.join(self.directory, "copy")
        run("cp", "-r", self.mount.mountpoint, copy)
        self.assertEqual(self.listed, files_below(copy))
        for name in self.listed:
            self.assertEqual(sha256_of(os.path.join(self.root, name)),
                             sha256_of(os.path.join(copy, name)), name)
        self.assertLessEqual(self.server.body_bytes(), self.total)

        self.server.forget()
        found = run("grep", "-r", "-l", "file 42 of directory 7$", self.mount.mountpoint)
        self.assertEqual(self.mount.path("dir07", "file042.txt"), found.decode().strip())
        archive = os.path.join(self.directory, "tree.tar")
        run("tar", "-cf", archive, "-C", self.mount.mountpoint, ".")
        unpacked = self.make_directory("unpacked")
        run("tar", "-xf", archive, "-C", unpacked)
        self.assertEqual(self.listed, files_below(unpacked))
        self.assertEqual(self.server.body_bytes(), 0, "all of it was cached by cp")

    def test_a_change_is_refused_and_a_missing_name_is_absent(self):
        with self.assertRaises(OSError):
            open(self.mount.path("new.txt"), "w", encoding="utf-8")
        with self.assertRaises(FileNotFoundError):
            open(self.mount.path("dir00", "no such file.txt"), "rb")
        self.assertFalse(os.path.exists(os.path.join(self.root, "new.txt")))


class BigFile(IntegrationTest):
    """One file of 1 GiB."""

    def test_sha256_equals_the_source_and_each_byte_comes_once(self):
        size = 1024 * MIB
        source = write_random(os.path.join(self.root, "big.bin"), size)
        server = self.nginx()
        mount = self.daemon(server.url).start()
        self.assertEqual(os.path.getsize(mount.path("big.bin")), size)
        self.assertEqual(sha256_of(source), sha256_of(mount.path("big.bin")))
        self.assertLessEqual(server.body_bytes(), 1.02 * size)

        server.forget()
        with open(mount.path("big.bin"), "rb") as file, open(source, "rb") as original:
            for offset in (0, 1, 4095, 512 * MIB - 3, size - 70000):
                file.seek(offset)
                original.seek(offset)
                self.assertEqual(original.read(65537), file.read(65537))
        self.assertEqual(server.body_bytes(), 0)


class Sqlite(IntegrationTest):
    """Queries on a database of more than 100 MB."""

    def test_a_query_by_index_fetches_a_small_part(self):
        path = os.path.join(self.root, "data.db")
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA page_size = 4096")
            database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, body BLOB)")
            database.executemany(
                "INSERT INTO item VALUES (?, ?, ?)",
                ((n, f"name {n * 7919 % 120000}", os.urandom(900)) for n in range(120000)))
            database.execute("CREATE INDEX item_name ON item (name)")
        database.close()
        size = os.path.getsize(path)
        self.assertGreater(size, 100e6)
        server = self.nginx()
        mount = self.daemon(server.url).start()
        self.need("sqlite3")
        query = "SELECT id, length(body), hex(substr(body, 1, 8)) FROM item WHERE name = 'name 4711'"
        uri = "file:{}?immutable=1"
        expected = run("sqlite3", uri.format(path), query)
        self.assertTrue(expected.strip())
        self.assertEqual(expected, run("sqlite3", uri.format(mount.path("data.db")), query))
        self.assertLess(server.body_bytes(), 0.1 * size)
        self.assertLess(len(server.requests("/data.db")), 40)
        # Without immutable=1 SQLite looks for a journal and takes locks: that works, too.
        self.assertEqual(expected, run("sqlite3", "-readonly", mount.path("data.db"), query))
        server.forget()
        self.assertEqual(b"120000\n", run("sqlite3", "-readonly", mount.path("data.db"),
                                          "SELECT count(*) FROM item"))
        self.assertLess(server.body_bytes(), size)


class Zip(IntegrationTest):
    """One member of a large archive."""

    def test_one_member_fetches_little_more_than_itself(self):
        self.need("unzip")
        path = os.path.join(self.root, "large.zip")
        member = write_random(os.path.join(self.directory, "member"), 4 * MIB, seed=1)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for n in range(40):
                if n == 23:
                    archive.write(member, "member23")
                else:
                    archive.writestr(f"member{n:02}", os.urandom(4 * MIB))
        server = self.nginx()
        mount = self.daemon(server.url).start()
        got = run("unzip", "-p", mount.path("large.zip"), "member23")
        with open(member, "rb") as file:
            self.assertEqual(file.read(), got)
        # The member, the directory at the end, and what read-ahead took beyond.
        self.assertLess(server.body_bytes(), 0.15 * os.path.getsize(path))
        self.assertLess(len(server.requests("/large.zip")), 40)


class Video(IntegrationTest):
    """A film whose index stands at the end."""

    def test_ffprobe_reads_the_index_alone(self):
        self.need("ffmpeg", "ffprobe")
        path = os.path.join(self.root, "film.mp4")
        run("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25",
            "-frames:v", "500", "-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj420p", path)
        size = os.path.getsize(path)
        self.assertGreater(size, 30 * MIB)
        server = self.nginx()
        mount = self.daemon(server.url).start()
        probe = json.loads(run("ffprobe", "-v", "error", "-show_format", "-show_streams",
                               "-of", "json", mount.path("film.mp4")))
        self.assertEqual(1280, probe["streams"][0]["width"])
        self.assertEqual("500", probe["streams"][0]["nb_frames"])
        self.assertEqual(size, int(probe["format"]["size"]))
        self.assertLess(server.body_bytes(), 0.25 * size)
        self.assertLess(len(server.requests("/film.mp4")), 40)


class Git(IntegrationTest):
    """A clone from a bare repository on the mount."""

    def test_clone_is_whole_and_each_byte_comes_once(self):
        self.need("git")
        work = self.make_directory("work")
        environment = {**os.environ, "HOME": self.directory, "GIT_CONFIG_NOSYSTEM": "1",
                       "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
                       "GIT_CONFIG_VALUE_0": "*"}

        def git(*arguments, cwd=work):
            return run("git", "-c", "user.name=A", "-c", "user.email=a@b", *arguments, cwd=cwd,
                       env=environment).decode()

        git("init", "-q", "-b", "main", ".")
        for commit in range(30):
            for file in range(5):
                with open(os.path.join(work, f"file{file}"), "ab") as out:
                    out.write(os.urandom(3000).hex().encode() + b"\n")
            git("add", ".")
            git("commit", "-q", "-m", f"commit {commit}")
        bare = os.path.join(self.root, "repo.git")
        git("clone", "-q", "--bare", "--no-local", work, bare)
        for sample in os.listdir(os.path.join(bare, "hooks")):
            os.remove(os.path.join(bare, "hooks", sample))
        size = sum(os.path.getsize(os.path.join(bare, name)) for name in files_below(bare))

        server = self.nginx()
        mount = self.daemon(server.url).start()
        clone = os.path.join(self.directory, "clone")
        git("clone", "-q", mount.path("repo.git"), clone, cwd=self.directory)
        git("fsck", "--strict", cwd=clone)
        self.assertEqual(git("rev-parse", "HEAD"), git("rev-parse", "HEAD", cwd=clone))
        self.assertEqual("", git("status", "--porcelain", cwd=clone))
        self.assertLessEqual(server.body_bytes(), 1.02 * size + 4096)
        server.forget()
        shutil.rmtree(clone)
        git("clone", "-q", "--no-local", mount.path("repo.git"), clone, cwd=self.directory)
        self.assertEqual(git("rev-parse", "HEAD"), git("rev-parse", "HEAD", cwd=clone))
        self.assertEqual(server.body_bytes(), 0)


class Mapping(IntegrationTest):
    """mmap, statfs and extended attributes."""

    def test_mmap_statfs_and_xattrs(self):
        import mmap
        source = write_random(os.path.join(self.root, "mapped.bin"), 8 * MIB)
        server = self.nginx()
        mount = self.daemon(server.url).start()
        with open(mount.path("mapped.bin"), "rb") as file, open(source, "rb") as original:
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
                for offset in (5 * MIB + 17, 0, 8 * MIB - 100):
                    original.seek(offset)
                    self.assertEqual(original.read(100), view[offset:offset + 100])
        self.assertGreater(os.statvfs(mount.mountpoint).f_bsize, 0)
        names = os.listxattr(mount.path("mapped.bin"))
        for wanted in ("etag", "cached_bytes", "age", "version"):
            self.assertTrue(any(name.startswith(f"user.rangecache.{wanted}") for name in names),
                            f"{wanted} is missing among {names}")
        tag = run("curl", "-sI", server.url + "mapped.bin").decode().split('ETag: ')[1].split()[0]
        self.assertIn(tag.strip('"'), os.getxattr(mount.path("mapped.bin"),
                                                  "user.rangecache.etag").decode())


class WithoutRoot(IntegrationTest):
    """A plain user mounts through fusermount3."""

    def test_a_plain_user_mounts_and_unmounts(self):
        self.need("fusermount3", "setpriv")
        if os.geteuid() != 0:
            self.skipTest("the other tests run without root already")
        if not os.stat("/dev/fuse").st_mode & 0o002:
            self.skipTest("/dev/fuse is not open to plain users here")
        with open(os.path.join(self.root, "a.txt"), "w", encoding="utf-8") as out:
            out.write("hello\n")
        server = self.nginx()
        mount = self.daemon(server.url)
        os.chmod(self.directory, 0o755)
        run("chown", "-R", "65534:65534", mount.directory)
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        done = subprocess.run([*user, *mount.command("--daemonize")], env=mount.environment(),
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        mount.pid = mount.stats()["pid"]
        self.assertEqual(b"hello\n", run(*user, "cat", mount.path("a.txt")))
        mount.stop()


if __name__ == "__main__":
    main()
