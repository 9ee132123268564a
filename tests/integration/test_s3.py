"""Buckets of a real S3 service: Ceph's RADOS Gateway, with nginx before it to count requests."""

import errno
import hashlib
import os
import shutil
import subprocess
import tempfile
import unittest

from rgw import Rgw, why_no_rgw
from support import MIB, IntegrationTest, main, wait_until


def random_bytes(size, seed):
    return hashlib.shake_256(str(seed).encode()).digest(size)


class Buckets(IntegrationTest):
    rgw = None

    @classmethod
    def setUpClass(cls):
        if reason := why_no_rgw():
            raise unittest.SkipTest(reason)
        cls.rgw_directory = tempfile.mkdtemp(prefix="rangecache-rgw-")
        cls.addClassCleanup(shutil.rmtree, cls.rgw_directory, ignore_errors=True)
        cls.rgw = Rgw(cls.rgw_directory)
        cls.addClassCleanup(cls.rgw.stop)

    def setUp(self):
        super().setUp()
        self.bucket = self._testMethodName.replace("_", "-")[:50].strip("-")
        self.rgw.make_bucket(self.bucket)
        # The signature holds for the host that the client named, so the name is handed on.
        self.front = self.nginx(f"    location /{self.bucket}/ {{ proxy_pass {self.rgw.url};"
                                " proxy_set_header Host $http_host; proxy_http_version 1.1; }")

    def put(self, key, body):
        return self.rgw.put(self.bucket, key, body)

    def bucket_daemon(self, prefix="", secret=None, **options):
        daemon = self.daemon(f"s3://{self.bucket}{prefix}",
                             endpoint_url=self.front.url, **options)
        daemon.env = {"AWS_ACCESS_KEY_ID": self.rgw.ACCESS_KEY,
                      "AWS_SECRET_ACCESS_KEY": secret or self.rgw.SECRET_KEY}
        return daemon

    def gets(self, kind):
        lists = [r for r in self.front.requests() if "list-type" in r["uri"]]
        heads = [r for r in self.front.requests() if r["method"] == "HEAD"]
        objects = [r for r in self.front.requests()
                   if r["method"] == "GET" and "list-type" not in r["uri"]]
        return {"list": lists, "head": heads, "object": objects}[kind]

    def cachectl(self, daemon, *arguments):
        return subprocess.run([os.environ["CACHECTL"], "--socket", daemon.socket, *arguments],
                              capture_output=True, timeout=60, check=False)

    def test_a_tree_reads_as_it_was_put_and_again_after_a_restart(self):
        bodies = {f"data/{n:02}.bin": random_bytes(200_000 + n, n) for n in range(20)}
        bodies["big.bin"] = random_bytes(9 * MIB + 5, "big")
        bodies["deep/er/and/deeper.txt"] = b"here\n"
        bodies["empty"] = b""
        for key, body in bodies.items():
            self.put(key, body)
        mount = self.bucket_daemon().start()
        found = {os.path.relpath(os.path.join(directory, name), mount.mountpoint)
                 for directory, _, names in os.walk(mount.mountpoint) for name in names}
        self.assertEqual(set(bodies), found)
        self.assertEqual([], self.gets("head"), "the listings told all that find wants to know")
        for key, body in bodies.items():
            with open(mount.path(key), "rb") as file:
                self.assertEqual(body, file.read(), key)
        # Each came whole and has the MD5 that its ETag tells; the empty one has no bytes to compare.
        wait_until(lambda: mount.metric("rangecache_origin_checksums_right_total")
                   == len(bodies) - 1, "all was compared with the ETags")
        self.assertEqual(0, mount.metric("rangecache_origin_checksums_wrong_total"))
        # Each of the twenty small ones in one request.
        self.assertEqual(20, len([r for r in self.front.requests(f"/{self.bucket}/data/")]))
        self.assertTrue(all(r["if_match"] for r in self.gets("object")))

        self.front.forget()
        mount.restart()
        for key, body in bodies.items():
            with open(mount.path(key), "rb") as file:
                self.assertEqual(body, file.read(), key)
        self.assertEqual([], self.gets("object"), "all of it was in the cache")

    def test_a_prefix_is_mounted_as_a_root(self):
        self.put("a/b/c.txt", b"c")
        self.put("other.txt", b"o")
        mount = self.bucket_daemon("/a").start()
        self.assertEqual(["b"], os.listdir(mount.mountpoint))
        with open(mount.path("b/c.txt"), "rb") as file:
            self.assertEqual(b"c", file.read())

    def test_keys_of_all_kinds(self):
        shown = ["a b", "plus+", "per%20cent", "what?", "hash#", "umlaut-ä", "quote'\"<&>", "semi;x",
                 "~tilde", "star*", "back\\slash", "x" * 255]
        for name in shown:
            self.put("all/" + name, name.encode())
        self.put("all/" + "y" * 256, b"too long")
        self.put("all/marker/", b"")
        self.put("all/both", b"file")
        self.put("all/both/below", b"below")
        self.put("all//double", b"double")
        self.put("all/./dot", b"dot")
        mount = self.bucket_daemon("/all").start()
        self.assertEqual(sorted([*shown, "marker", "both"]), sorted(os.listdir(mount.mountpoint)))
        for name in shown:
            with open(mount.path(name), "rb") as file:
                self.assertEqual(name.encode(), file.read())
        self.assertEqual([], os.listdir(mount.path("marker")))
        self.assertEqual(["below"], os.listdir(mount.path("both")))
        self.assertEqual(b"4", os.getxattr(mount.mountpoint, "user.rangecache.hidden_names"))
        # What no path can name is had by its exact key.
        for key, body in (("all/" + "y" * 256, b"too long"), ("all/both", b"file"),
                          ("all//double", b"double"), ("all/./dot", b"dot")):
            read = self.cachectl(mount, "cat", f"s3://{self.bucket}/{key}")
            self.assertEqual((body, b""), (read.stdout, read.stderr))

    def test_a_long_listing_takes_a_request_a_thousand_keys_and_no_more_than_are_wanted(self):
        names = [f"{n:04}" for n in range(5300)]
        for name in names:
            self.put(f"many/{name}", b"")
        mount = self.bucket_daemon().start()
        self.front.forget()
        self.assertEqual(0, os.stat(mount.path("many/5299")).st_size)
        self.assertLessEqual(len(self.gets("list")), 2, "the root, and a page of the directory")
        self.assertEqual(1, len(self.gets("head")), "the name itself")

        self.front.forget()
        with os.scandir(self.bucket_daemon().start().path("many")) as directory:
            self.assertIn(next(directory).name, names)
            self.assertLessEqual(len(self.gets("list")), 4, "of six pages and the root")
            self.assertEqual(5299, sum(1 for _ in directory))
        self.front.forget()
        mount = self.bucket_daemon().start()
        self.assertEqual(names, sorted(os.listdir(mount.path("many"))))
        self.assertEqual(6, len([r for r in self.gets("list") if "many" in r["uri"]]))

    def test_an_open_file_keeps_its_version_or_fails_but_never_mixes(self):
        old, new = random_bytes(24 * MIB, "old"), random_bytes(24 * MIB, "new")
        self.put("file", old)
        mount = self.bucket_daemon(freshness="always").start()
        with open(mount.path("file"), "rb", buffering=0) as file:
            self.assertEqual(old[:4096], file.read(4096))
            self.put("file", new)
            file.seek(20 * MIB)  # not fetched yet
            with self.assertRaises(OSError) as caught:
                file.read(4096)
            self.assertEqual(errno.ESTALE, caught.exception.errno)
        with open(mount.path("file"), "rb") as file:
            self.assertEqual(new, file.read())

    def test_old_versions_can_still_be_read_where_the_bucket_keeps_them(self):
        self.rgw.keep_versions(self.bucket)
        old, new = random_bytes(24 * MIB, "old"), random_bytes(24 * MIB, "new")
        first = self.rgw.request("PUT", f"/{self.bucket}/file", old)[0]["x-amz-version-id"]
        mount = self.bucket_daemon(freshness="always").start()
        with open(mount.path("file"), "rb", buffering=0) as file:
            self.assertEqual(old[:4096], file.read(4096))
            second = self.rgw.request("PUT", f"/{self.bucket}/file", new)[0]["x-amz-version-id"]
            self.assertNotEqual(first, second)
            rest = b"".join(iter(lambda: file.read(MIB), b""))
            self.assertEqual(old[4096:], rest, "the open file keeps its version")
        with open(mount.path("file"), "rb") as file:
            self.assertEqual(new, file.read())
        for version, body in ((first, old), (second, new)):
            read = self.cachectl(mount, "cat", f"s3://{self.bucket}/file?versionId={version}")
            self.assertEqual(body, read.stdout, read.stderr)

    def test_what_goes_wrong_is_said_with_the_remedy(self):
        self.put("file", b"x")
        refused = self.bucket_daemon(secret="n0tTheSecret").try_start()
        self.assertNotEqual(0, refused.returncode)
        self.assertIn("SignatureDoesNotMatch", refused.stderr)
        self.assertIn("check the secret access key", refused.stderr)
        self.assertNotIn("n0tTheSecret", refused.stderr)

        nobody = self.bucket_daemon()
        nobody.env = {"AWS_EC2_METADATA_DISABLED": "true"}
        refused = nobody.try_start()
        self.assertIn("no credentials for S3: set AWS_ACCESS_KEY_ID", refused.stderr)

        none = self.daemon("s3://no-such-bucket-here", endpoint_url=self.rgw.url)
        none.env = {"AWS_ACCESS_KEY_ID": self.rgw.ACCESS_KEY,
                    "AWS_SECRET_ACCESS_KEY": self.rgw.SECRET_KEY}
        self.assertIn("NoSuchBucket", none.try_start().stderr)

        mount = self.bucket_daemon().start()
        self.assert_errno(errno.ENOENT, open, mount.path("nothing"))
        self.assertNotIn(self.rgw.SECRET_KEY, mount.log())

    def test_credentials_come_from_a_profile(self):
        self.put("file", b"from a profile")
        daemon = self.bucket_daemon(profile="work")
        daemon.env = {}
        os.makedirs(os.path.join(daemon.directory, ".aws"))
        with open(os.path.join(daemon.directory, ".aws", "credentials"), "w",
                  encoding="utf-8") as file:
            file.write("[default]\naws_access_key_id = other\naws_secret_access_key = other\n"
                       f"[work]\naws_access_key_id = {self.rgw.ACCESS_KEY}\n"
                       f"aws_secret_access_key = {self.rgw.SECRET_KEY}\n")
        mount = daemon.start()
        with open(mount.path("file"), "rb") as file:
            self.assertEqual(b"from a profile", file.read())

    def test_each_origin_may_have_its_own_settings(self):
        self.put("file", b"of a bucket")
        with open(os.path.join(self.root, "file"), "wb") as file:
            file.write(b"of a server")
        daemon = self.daemon()  # whose own endpoint would be AWS
        daemon.env = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
                      "AWS_SHARED_CREDENTIALS_FILE": os.path.join(daemon.directory, "credentials")}
        with open(daemon.env["AWS_SHARED_CREDENTIALS_FILE"], "w", encoding="utf-8") as file:
            file.write(f"[mine]\naws_access_key_id = {self.rgw.ACCESS_KEY}\n"
                       f"aws_secret_access_key = {self.rgw.SECRET_KEY}\n")
        config = os.path.join(daemon.directory, "rangecached.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'freshness = "ttl=1h"\n[[origin]]\nurl = "s3://{self.bucket}"\n'
                       f'endpoint-url = "{self.front.url}"\nprofile = "mine"\n'
                       f'[[origin]]\nurl = "{self.front.url}"\nfreshness = "always"\n')
        daemon.options["config"] = config
        daemon.start()
        for url, body in ((f"s3://{self.bucket}/file", b"of a bucket"),
                          (self.front.url + "file", b"of a server")):
            for _ in range(2):
                self.assertEqual(body, self.cachectl(daemon, "cat", url).stdout)
        # The server is asked before each use, the bucket once an hour.
        self.assertEqual(["GET", "HEAD"], [r["method"] for r in self.front.requests("/file")])
        self.assertEqual(["GET"], [r["method"] for r in self.front.requests(f"/{self.bucket}/file")])


if __name__ == "__main__":
    main()
