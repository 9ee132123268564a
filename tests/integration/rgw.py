"""A private S3 service: Ceph's RADOS Gateway on one node, in memory, on loopback only."""

import hashlib
import hmac
import http.client
import os
import shutil
import signal
import subprocess
import time
import urllib.parse
import uuid

from support import free_port, wait_until

PROGRAMS = ("ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool")
REGION = "us-east-1"

CONFIG = """[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon_port}
public network = 127.0.0.0/8
ms bind ipv4 = true
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
osd class update on start = false
osd crush update on start = false
osd objectstore = memstore
memstore device bytes = 4294967296
osd memory target = 1073741824
log file = {root}/log/$name.log
admin socket = {root}/$name.asok
pid file = {root}/$name.pid
run dir = {root}
mon cluster log file = {root}/log/cluster.log
crash dir = {root}/log
setuser match path = /nonexistent
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw dns name = 127.0.0.1
mgr initial modules =
[mon.a]
mon data = {root}/mon
[mgr.x]
mgr data = {root}/mgr
[osd.0]
osd data = {root}/osd
[client.rgw.a]
rgw data = {root}/rgw
"""


def why_no_rgw():
    """The reason why it cannot run here, or None."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return "not installed: " + ", ".join(missing)
    if os.geteuid() != 0:
        return "Ceph's daemons want to be started by root"
    return None


class Rgw:
    """Up when constructed; knows one user. requests() go as that user, for putting things there."""

    ACCESS_KEY = "testaccesskey"
    SECRET_KEY = "testsecretkey"

    def __init__(self, directory):
        self.root = directory
        self.config = os.path.join(directory, "ceph.conf")
        for name in ("log", "mon", "mgr", "osd", "rgw"):
            os.makedirs(os.path.join(directory, name), exist_ok=True)
        self.port = free_port()
        fsid = str(uuid.uuid4())
        mon_port = free_port()
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(fsid=fsid, root=directory, port=self.port, mon_port=mon_port))
        try:
            self._start(fsid, mon_port)
        except BaseException:
            self.stop()
            raise
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"

    def _run(self, *command):
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=120, check=True, env={**os.environ, "CEPH_CONF": self.config})

    def _ceph(self, *command):
        """What may be said twice: a monitor that has only just begun may refuse (EPERM)."""
        def output():
            try:
                return self._run("ceph", "-c", self.config, *command).stdout or "done"
            except subprocess.CalledProcessError:
                return None
        return wait_until(output, f"ceph does {command}", 60)

    def _start(self, fsid, mon_port):
        c = ("-c", self.config)
        monmap = os.path.join(self.root, "monmap")
        self._run("monmaptool", "--create", "--clobber", "--addv", "a",
                  f"v1:127.0.0.1:{mon_port}", "--fsid", fsid, monmap)
        self._run("ceph-mon", *c, "-i", "a", "--mkfs", "--monmap", monmap)
        self._run("ceph-mon", *c, "-i", "a")
        self._run("ceph-mgr", *c, "-i", "x")
        osd = str(uuid.uuid4())
        self._ceph("osd", "new", osd)
        self._run("ceph-osd", *c, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._ceph("osd", "crush", "add", "osd.0", "1.0", "host=h0", "root=default")
        self._run("ceph-osd", *c, "-i", "0")
        wait_until(lambda: "1 up" in self._ceph("osd", "stat"), "the OSD is up")
        self._run("radosgw", *c, "-n", "client.rgw.a")
        wait_until(self._answers, "the gateway answers", 90)
        self._run("radosgw-admin", *c, "user", "create", "--uid", "test", "--display-name", "test",
                  "--access-key", self.ACCESS_KEY, "--secret-key", self.SECRET_KEY)

    def _answers(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/")
            return connection.getresponse().status
        except OSError:
            return None

    def stop(self):
        for name in ("client.rgw.a", "osd.0", "mgr.x", "mon.a"):
            try:
                with open(os.path.join(self.root, name + ".pid"), encoding="utf-8") as file:
                    pid = int(file.read())
            except (OSError, ValueError):
                continue
            try:
                os.kill(pid, signal.SIGKILL)  # nothing of it is kept
            except ProcessLookupError:
                pass

    def request(self, method, path, body=b"", query=""):
        """`path` raw, `query` encoded and sorted. Gives the response's headers and body."""
        path = urllib.parse.quote(path, safe="/~-_.")
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": self.address, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(headers)
        canonical = "\n".join([method, path, query,
                               "".join(f"{name}:{value}\n" for name, value in headers.items()),
                               names, digest])
        scope = [now[:8], REGION, "s3", "aws4_request"]
        text = "\n".join(["AWS4-HMAC-SHA256", now, "/".join(scope),
                          hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + self.SECRET_KEY).encode()
        for part in [*scope, text]:
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        headers["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.ACCESS_KEY}/"
                                    f"{'/'.join(scope)}, SignedHeaders={names}, Signature={key.hex()}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path + ("?" + query if query else ""),
                           body=body if method == "PUT" else None, headers=headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status >= 300:
            raise AssertionError(f"{method} {path}: {response.status} {answer!r}")
        return response.headers, answer

    def put(self, bucket, key, body):
        return self.request("PUT", f"/{bucket}/{key}", body)[0]["ETag"]

    def make_bucket(self, bucket):
        self.request("PUT", f"/{bucket}")

    def keep_versions(self, bucket):
        self.request("PUT", f"/{bucket}",
                     b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
                     "versioning=")
