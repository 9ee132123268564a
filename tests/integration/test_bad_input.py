"""Bad input: each gets an error that names the thing, and the daemon lives on."""

import errno
import os
import struct
import subprocess

from support import (CACHECTL, MIB, Api, ApiError, IntegrationTest, connect, free_port, is_alive,
                     main, sha256_of, write_random)


class BadInputTest(IntegrationTest):
    def assert_refused(self, daemon, *words, extra=()):
        """It does not start, and says why in words that name the thing."""
        tried = daemon.try_start(*extra)
        self.assertNotEqual(0, tried.returncode, "it started all the same")
        for word in words:
            self.assertIn(word, tried.stderr)
        self.assertLessEqual(len(tried.stderr.strip().splitlines()), 5, tried.stderr)
        return tried.stderr

    def healthy_mount(self, server):
        """A daemon that works, with something in its cache."""
        write_random(os.path.join(self.root, "good.bin"), 2 * MIB)
        mount = self.daemon(server.url).start()
        self.digest = sha256_of(mount.path("good.bin"))
        server.forget()
        return mount

    def assert_unharmed(self, mount, server):
        self.assertTrue(is_alive(mount.pid))
        self.assertEqual(mount.pid, mount.stats()["pid"])
        self.assertEqual(self.digest, sha256_of(mount.path("good.bin")))
        self.assertEqual(server.body_bytes("/good.bin"), 0)


class BadOrigins(BadInputTest):
    def test_an_unreachable_host_is_named(self):
        port = free_port()
        self.assert_refused(self.daemon(f"http://127.0.0.1:{port}/data/"), f"127.0.0.1:{port}")

    def test_a_host_without_an_address_is_named(self):
        self.assert_refused(self.daemon("http://no-such-host.invalid/data/"),
                            "no-such-host.invalid")

    def test_a_url_of_an_unknown_kind_is_named(self):
        self.assert_refused(self.daemon("gopher://127.0.0.1/"), "gopher")

    def test_a_404_is_named(self):
        server = self.nginx()
        self.assert_refused(self.daemon(server.url + "missing.bin"), "missing.bin", "404")

    def test_a_403_is_named(self):
        server = self.nginx("    location /secret { deny all; }")
        self.assert_refused(self.daemon(server.url + "secret.bin"), "secret.bin", "403")

    def test_a_403_within_a_tree_is_eacces_and_a_404_enoent(self):
        write_random(os.path.join(self.root, "secret.bin"), 1000)
        server = self.nginx("    location /secret { deny all; }")
        mount = self.healthy_mount(server)
        self.assert_errno(errno.EACCES, sha256_of, mount.path("secret.bin"))
        self.assert_errno(errno.ENOENT, sha256_of, mount.path("missing.bin"))
        self.assert_unharmed(mount, server)

    def test_an_origin_that_goes_away_is_eio_and_cached_bytes_survive(self):
        write_random(os.path.join(self.root, "later.bin"), MIB)
        server = self.nginx()
        write_random(os.path.join(self.root, "good.bin"), 2 * MIB)
        mount = self.daemon(server.url, freshness="ttl=1h").start()
        digest = sha256_of(mount.path("good.bin"))
        os.listdir(mount.mountpoint)
        server.stop()
        self.assert_errno(errno.EIO, sha256_of, mount.path("later.bin"))
        self.assertEqual(digest, sha256_of(mount.path("good.bin")))
        self.assertTrue(is_alive(mount.pid))

    def test_a_server_without_ranges_is_read_all_the_same(self):
        source = write_random(os.path.join(self.root, "whole.bin"), 20 * MIB)
        server = self.nginx("    max_ranges 0;")
        mount = self.daemon(server.url).start()
        with open(mount.path("whole.bin"), "rb") as file, open(source, "rb") as original:
            file.seek(15 * MIB)
            original.seek(15 * MIB)
            self.assertEqual(original.read(70000), file.read(70000))
        self.assertEqual(sha256_of(source), sha256_of(mount.path("whole.bin")))
        self.assertLessEqual(server.body_bytes("/whole.bin"), 1.02 * 20 * MIB)
        self.assertTrue(is_alive(mount.pid))


class BadMountPoints(BadInputTest):
    def test_a_missing_mount_point_is_named(self):
        daemon = self.daemon(self.nginx().url)
        os.rmdir(daemon.mountpoint)
        self.assert_refused(daemon, daemon.mountpoint)

    def test_a_mount_point_that_is_a_file_is_named(self):
        daemon = self.daemon(self.nginx().url)
        os.rmdir(daemon.mountpoint)
        with open(daemon.mountpoint, "w", encoding="utf-8"):
            pass
        self.assert_refused(daemon, daemon.mountpoint)

    def test_a_busy_mount_point_is_named_and_its_mount_unharmed(self):
        server = self.nginx()
        mount = self.healthy_mount(server)
        second = self.daemon(server.url)
        second.mountpoint, own = mount.mountpoint, second.mountpoint
        self.assert_refused(second, mount.mountpoint)
        second.mountpoint = own
        self.assert_unharmed(mount, server)


class BadCacheDirectories(BadInputTest):
    def test_one_that_cannot_be_made_is_named(self):
        daemon = self.daemon(self.nginx().url)
        blocker = os.path.join(daemon.directory, "blocker")
        with open(blocker, "w", encoding="utf-8"):
            pass
        daemon.cache_dir = os.path.join(blocker, "cache")
        self.assert_refused(daemon, daemon.cache_dir)

    def test_one_that_is_not_writable_is_named(self):
        daemon = self.daemon(self.nginx().url)
        if os.geteuid() == 0:
            daemon.cache_dir = "/proc/rangecache-cache"  # refuses root, too
        else:
            os.mkdir(daemon.cache_dir, 0o500)
        self.assert_refused(daemon, daemon.cache_dir)

    def test_one_that_another_daemon_uses_is_named_and_the_other_unharmed(self):
        server = self.nginx()
        mount = self.healthy_mount(server)
        second = self.daemon(server.url)
        second.cache_dir = mount.cache_dir
        self.assert_refused(second, mount.cache_dir)
        self.assert_unharmed(mount, server)

    def test_a_socket_that_another_daemon_serves_is_named_and_the_other_unharmed(self):
        server = self.nginx()
        mount = self.healthy_mount(server)
        second = self.daemon(server.url)
        second.socket = mount.socket
        self.assert_refused(second, mount.socket)
        self.assert_unharmed(mount, server)


class BadConfigs(BadInputTest):
    needs_mount = False

    def assert_file_refused(self, text, *words):
        daemon = self.daemon()
        path = os.path.join(daemon.directory, "rangecached.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.assert_refused(daemon, path, *words, extra=[f"--config={path}"])

    def test_an_unknown_key_is_named_with_its_line(self):
        self.assert_file_refused('log-level = "info"\ncache-sise = "1GiB"\n', "cache-sise", ":2")

    def test_what_is_no_toml_is_named_with_its_line(self):
        self.assert_file_refused('log-level = "info"\ncache-size = = 3\n', ":2")

    def test_a_value_of_the_wrong_kind_is_named(self):
        self.assert_file_refused("cache-dir = [1, 2]\n", "cache-dir")

    def test_tables_of_origins_are_checked(self):
        self.assert_file_refused('origin = "s3://b"\n', ":1", "[[origin]]")
        self.assert_file_refused('[[origin]]\nregion = "x"\n', "needs a url")
        self.assert_file_refused('[[origin]]\nurl = "s3://bucket/part"\n', ":2", "whole server")
        self.assert_file_refused('[[origin]]\nurl = "https://h/"\nregion = "x"\n', "s3:// URLs")
        self.assert_file_refused('[[origin]]\nurl = "https://h/"\nfreshnes = "http"\n', ":3",
                                 "freshnes")
        for bad, word in (('ca-file = "/nonexistent.pem"', "No such file"), ('timeout = "0s"', "1s"),
                          ('timeout = 5', "string"), ('connect-timeout = "soon"', "duration"),
                          ('fetch-whole = "big"', "not a size"), ('max-transfers = 0', "1 to 1024"), ('hedge = 101', "0 to 100"),
                          ('proxy = true', "string")):
            self.assert_file_refused(f'[[origin]]\nurl = "https://h/"\n{bad}\n', ":3", word)
        self.assert_file_refused('[[origin]]\nurl = "https://h/"\nfreshness = "often"\n', ":3",
                                 "often")
        self.assert_file_refused('[[origin]]\nurl = "s3://bucket"\nno-sign-request = 1\n', ":3",
                                 "true or false")
        self.assert_file_refused('[[origin]]\nurl = "https://h/"\n[[origin]]\n'
                                 'url = "https://H:443"\n', ":3", "a second")

    def test_a_missing_file_is_named(self):
        self.assert_refused(self.daemon(), "/no/such/file.toml",
                            extra=["--config=/no/such/file.toml"])

    def test_wrong_values_are_named(self):
        for option, value in [("cache-size", "12parsecs"), ("cache-size", "1MiB"),
                              ("freshness", "sometimes"), ("eviction", "random"), ("durability", "some"),
                              ("admission", "none"),
                              ("log-level", "loud")]:
            with self.subTest(option=option, value=value):
                daemon = self.daemon(**{option: value})
                self.assert_refused(daemon, value)

    def test_a_url_without_a_mount_point_is_explained(self):
        self.assert_refused(self.daemon(), "MOUNTPOINT", extra=["http://127.0.0.1/"])


class HostileSocket(BadInputTest):
    """Frames that are cut off, too long, unknown, or no frames at all."""

    def setUp(self):
        super().setUp()
        self.server = self.nginx()
        self.mount = self.healthy_mount(self.server)

    def tearDown(self):
        self.assert_unharmed(self.mount, self.server)
        with Api(self.mount.socket) as api:
            self.assertIn(b"hello", api.call(Api.PING, b"hello"))

    def ends(self, client):
        """The daemon closes the connection, whatever it says before."""
        client.settimeout(30)
        try:
            while client.recv(4096):
                pass
        except ConnectionResetError:
            pass

    def test_no_greeting(self):
        with connect(self.mount.socket) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"x" * 100)
            self.ends(client)

    def test_cut_off_everywhere(self):
        whole = Api.GREETING + struct.pack("<IHHQ", 5, Api.PING, 0, 1) + b"hello"
        for length in range(len(whole)):
            with connect(self.mount.socket) as client:
                client.sendall(whole[:length])

    def test_a_length_beyond_the_limit(self):
        with Api(self.mount.socket) as api:
            api.send(Api.PING, b"", length=0xFFFFFFFF)
            self.ends(api.socket)

    def test_an_unknown_message_is_answered_and_the_connection_lives(self):
        with Api(self.mount.socket) as api:
            api.send(999)
            with self.assertRaisesRegex(ApiError, "999"):
                api.receive()
            self.assertIn(b"again", api.call(Api.PING, b"again"))

    def test_a_payload_that_lies_about_its_strings(self):
        for message in range(1, 18):
            if message == Api.SHUTDOWN:
                continue
            with self.subTest(message=message), Api(self.mount.socket) as api:
                api.send(message, struct.pack("<I", 0xFFFFFFF0) + b"\xff" * 3000)
                self.ends(api.socket)

    def test_random_bytes(self):
        for _ in range(50):
            with connect(self.mount.socket) as client:
                noise = Api.GREETING + os.urandom(200)
                try:
                    client.sendall(noise)
                except (BrokenPipeError, ConnectionResetError):
                    pass

    def test_cachectl_names_a_socket_at_which_nobody_answers(self):
        if not CACHECTL:
            self.skipTest("cachectl is not built")
        missing = os.path.join(self.directory, "nobody")
        done = subprocess.run([CACHECTL, "--socket", missing, "ping"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=30, check=False)
        self.assertNotEqual(0, done.returncode)
        self.assertIn(missing, done.stderr)


if __name__ == "__main__":
    main()
