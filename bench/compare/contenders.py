"""What is compared: each shows an origin's files as paths or URLs, and is started and stopped anew for every run."""

import os
import resource
import shutil
import subprocess
import tempfile
import time

from origins import SLICE, Nginx, await_port, free_port, stop_process

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def peak_memory(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8") as status:
                for line in status:
                    if line.startswith("VmHWM:"):
                        total += int(line.split()[1]) * 1024
        except FileNotFoundError:
            pass
    return total


def environment_for(origin):
    """The credentials of a bucket are where AWS's tools look for them, and no other settings of the user's."""
    if not origin.bucket:
        return None
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**plain, "AWS_ACCESS_KEY_ID": origin.key, "AWS_SECRET_ACCESS_KEY": origin.secret}


class Contender:
    """One program. `kind` is "mount" (paths), "url" (a caching proxy) or "tool" (a downloader)."""

    name = ""
    kind = "mount"
    program = ""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="rangecache-bench-")
        os.chmod(self.directory, 0o755)
        self.mountpoint = self.make("mnt")
        self.process = None

    @classmethod
    def why_not(cls):
        if not shutil.which(cls.program, path=os.environ.get("PATH", "") + ":/usr/sbin"):
            return f"{cls.program} is not installed"
        return None

    def make(self, name):
        path = os.path.join(self.directory, name)
        os.makedirs(path, exist_ok=True)
        return path

    def command(self, origin):
        raise NotImplementedError

    def start(self, origin):
        self.process = subprocess.Popen(self.command(origin), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env=environment_for(origin))
        end = time.monotonic() + 20
        while not os.path.ismount(self.mountpoint):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not mount")
            time.sleep(0.02)

    def path(self, name):
        return os.path.join(self.mountpoint, name)

    def pids(self):
        return [self.process.pid] if self.process else []

    def complete(self):
        """Waits until what was read is kept as it will be kept."""

    def stop(self):
        """Ends the program; its cache stays."""
        if self.process:
            if os.path.ismount(self.mountpoint):
                subprocess.run(["fusermount3", "-u", "-z", self.mountpoint], check=False,
                               stderr=subprocess.DEVNULL)
            stop_process(self.process)
            self.process = None

    def discard(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class Rangecache(Contender):
    name = "rangecache"
    build = "build/dev"
    options = ()

    def __init__(self):
        super().__init__()
        self.socket = os.path.join(self.directory, "socket")

    @classmethod
    def why_not(cls):
        if not os.path.exists(os.path.join(cls.build, "daemon/rangecached")):
            return f"{cls.build} has no rangecached"
        return None

    def command(self, origin):
        source = (["--endpoint-url", origin.endpoint, f"s3://{origin.bucket}"] if origin.bucket
                  else [origin.url])
        self.origin_url = origin.url
        return [os.path.join(self.build, "daemon/rangecached"), "--cache-dir", self.make("cache"),
                "--socket", self.socket, "--cache-size", "8GiB", "--keep-free", "0", "--freshness",
                "ttl=1h", "--merge-rate", "1GiB", "--log-level", "error", *self.options, *source,
                self.mountpoint]

    def metric(self, name):
        text = subprocess.run([os.path.join(self.build, "cachectl/cachectl"), "--socket",
                               self.socket, "stats", "--prometheus"], check=True,
                              stdout=subprocess.PIPE).stdout.decode()
        for line in text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        return 0

    def read_by_library(self, name):
        """cachectl reads through the client library."""
        subprocess.run([os.path.join(self.build, "cachectl/cachectl"), "--socket", self.socket, "cat",
                        self.origin_url + name], check=True, stdout=subprocess.DEVNULL)

    def complete(self):
        end = time.monotonic() + 60
        while time.monotonic() < end:  # until nothing is written or joined any more
            if not self.metric("rangecache_unwritten_bytes") and not self.metric("rangecache_merging_objects"):
                return
            time.sleep(0.1)


class RangecacheWithoutPassthrough(Rangecache):
    name = "rangecache, no pass-through"
    options = ("--no-passthrough",)


class RangecacheFetchWhole(Rangecache):
    name = "rangecache --fetch-whole"
    options = ("--fetch-whole", "1GiB")


class Rclone(Contender):
    name = program = "rclone"

    def command(self, origin):
        # Without --use-server-modtime it would send a HEAD for each file of a bucket that find looks at.
        source = (["--s3-provider", "Ceph", "--s3-endpoint", origin.endpoint, "--s3-env-auth",
                   "--use-server-modtime", f":s3:{origin.bucket}"] if origin.bucket
                  else ["--http-url", origin.url, ":http:"])
        return ["rclone", "mount", "--config", "/dev/null", *source, self.mountpoint,
                "--vfs-cache-mode", "full", "--cache-dir", self.make("cache"), "--read-only",
                "--vfs-cache-max-size", "8G", "--dir-cache-time", "1h", "--attr-timeout", "1h"]


class Httpdirfs(Contender):
    name = program = "httpdirfs"

    def command(self, origin):
        return ["httpdirfs", "-f", "--cache", "--cache-location", self.make("cache"),
                "--max-conns", "16", origin.url, self.mountpoint]


class S3fs(Contender):
    """Buckets only."""

    name = program = "s3fs"

    def command(self, origin):
        passwd = os.path.join(self.directory, "passwd")
        with open(os.open(passwd, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(f"{origin.key}:{origin.secret}\n")
        return ["s3fs", origin.bucket, self.mountpoint, "-f", "-o", f"passwd_file={passwd}",
                "-o", f"url={origin.endpoint}", "-o", "use_path_request_style",
                "-o", f"use_cache={self.make('cache')}", "-o", "ro"]


class NginxSlice(Contender):
    name, program, kind = "nginx slice", "nginx", "url"

    def start(self, origin):
        self.port = free_port()
        root = self.make("nginx")
        self.nginx = Nginx(root, SLICE.format(root=root, port=self.port, origin=origin.port))
        self.process = self.nginx.process
        await_port(self.port, self.process)

    def url(self, name):
        return f"http://127.0.0.1:{self.port}/{name}"

    def pids(self):
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(children, encoding="utf-8") as file:
            return [int(pid) for pid in file.read().split()]


class Tool(Contender):
    """Has nothing to start; download(url, target) is the work."""

    kind = "tool"

    def start(self, origin):
        self.origin = origin

    def pids(self):
        return []

    def stop(self):
        pass

    @staticmethod
    def children_cpu():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime


class Curl(Tool):
    name = program = "curl"

    def download(self, name):
        signed = (["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
                   "--aws-sigv4", f"aws:amz:{self.origin.region}:s3",
                   "--user", f"{self.origin.key}:{self.origin.secret}"] if self.origin.bucket else [])
        subprocess.run(["curl", "-sf", "-o", "/dev/null", *signed, self.origin.url + name], check=True)


class Curl16(Tool):
    """One curl, connections kept, as many at once as there are readers."""

    name, program = "curl, each file", "curl"

    def fetch(self, names, readers):
        config = "".join(f'url = "{self.origin.url + name}"\noutput = "/dev/null"\n'
                         for name in names)
        subprocess.run(["curl", "-s", "-Z", "--parallel-max", str(readers), "-K", "-"],
                       input=config.encode(), check=True)


class Aria2(Tool):
    name, program = "aria2c -x16", "aria2c"

    def download(self, name):
        subprocess.run(["aria2c", "-q", "-x16", "-s16", "-k1M", "--file-allocation=none",
                        "--allow-overwrite=true", "-d", self.make("out"), self.origin.url + name],
                       check=True)


class Native(Contender):
    """The files themselves: the limit of what is cached. A copy, so that its pages are its own."""

    name = "native"
    kind = "native"

    @classmethod
    def why_not(cls):
        return None

    def start(self, origin):
        self.files = origin.files

    def path(self, name):
        copy = os.path.join(self.mountpoint, name)
        if not os.path.exists(copy):
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copyfile(os.path.join(self.files, name), copy)
        return copy

    def pids(self):
        return []


ALL = (Native, Curl, Curl16, Aria2, Rangecache, RangecacheWithoutPassthrough,
       RangecacheFetchWhole, Rclone, Httpdirfs,
       NginxSlice, S3fs)
