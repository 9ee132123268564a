"""What stands between the daemon and its origins: TLS, proxies."""

import errno
import os

from support import IntegrationTest, free_port, main, run, sha256_of, write_random


class Tls(IntegrationTest):
    """A server with a certificate that only --ca-file makes good."""

    def setUp(self):
        super().setUp()
        self.need("openssl")
        self.key, self.ca = (os.path.join(self.directory, name) for name in ("key.pem", "ca.pem"))
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
            "-keyout", self.key, "-out", self.ca, "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost")
        self.source = write_random(os.path.join(self.root, "file.bin"), 3_000_000)
        # The plain port stays for the account of requests.
        self.tls_port = free_port()
        self.server = self.nginx(f"    listen 127.0.0.1:{self.tls_port} ssl http2;\n"
                                 f"    ssl_certificate {self.ca};\n"
                                 f"    ssl_certificate_key {self.key};\n")
        self.url = f"https://localhost:{self.tls_port}/"

    def test_reads_over_tls_and_http2(self):
        mount = self.daemon(self.url, ca_file=self.ca).start()
        self.assertEqual(sha256_of(self.source), sha256_of(mount.path("file.bin")))
        # HTTP/2 carries all requests over one connection.
        self.assertEqual(1, len({r["connection"] for r in self.server.requests("/file.bin")}))

    def test_an_unknown_certificate_is_refused_with_one_clear_error(self):
        refused = self.daemon(self.url).try_start()
        self.assertNotEqual(0, refused.returncode)
        self.assertIn("the server's certificate or TLS set-up is not accepted", refused.stderr)
        self.assertIn("--ca-file", refused.stderr)
        self.assertEqual(1, len(refused.stderr.splitlines()), refused.stderr)

    def test_a_file_that_holds_no_certificates_is_named(self):
        refused = self.daemon(self.url, ca_file="/dev/null").try_start()
        self.assertIn("/dev/null holds no certificates", refused.stderr)
        refused = self.daemon(self.url, ca_file="/nonexistent.pem").try_start()
        self.assertIn("--ca-file /nonexistent.pem (No such file or directory)", refused.stderr)


    def test_each_origin_may_have_its_own_certificates_and_time_outs(self):
        config = os.path.join(self.directory, "rangecached.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'[[origin]]\nurl = "{self.url}"\nca-file = "{self.ca}"\nmax-transfers = 2\n'
                       '[[origin]]\nurl = "https://localhost:1"\ntimeout = "1s"\n')
        mount = self.daemon(self.url, config=config).start()
        self.assertEqual(sha256_of(self.source), sha256_of(mount.path("file.bin")))
        servers = {server["name"]: server for server in mount.stats()["origins"]}
        self.assertEqual(2, servers[f"https://localhost:{self.tls_port}"]["max_places"])
        other = self.daemon(f"https://127.0.0.1:{self.tls_port}/", config=config).try_start()
        self.assertIn("is not accepted", other.stderr, "the file is for the other name only")


class Proxy(IntegrationTest):
    """Requests through a proxy, here nginx as a forward proxy."""

    def test_requests_go_through_the_proxy_and_only_there(self):
        source = write_random(os.path.join(self.root, "file.bin"), 100_000)
        origin = self.nginx()
        proxy = self.nginx("    location / { proxy_pass http://$http_host$request_uri; }\n")
        mount = self.daemon(origin.url, proxy=proxy.url).start()
        self.assertEqual(sha256_of(source), sha256_of(mount.path("file.bin")))
        self.assertGreaterEqual(proxy.body_bytes(), 100_000)
        self.assertEqual(len(origin.requests("/file.bin")), len(proxy.requests("/file.bin")))
        proxy.stop()
        mount.evict()
        self.assert_errno(errno.EIO, sha256_of, mount.path("file.bin"))


if __name__ == "__main__":
    main()
