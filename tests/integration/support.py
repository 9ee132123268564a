"""What the integration tests stand on: a private nginx, a private daemon, and watchers.

Every test owns its servers, ports, directories and sockets, so that tests can run side by side.
Nothing here sleeps for a fixed time to wait for something: wait_until() waits for the condition.
"""

import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

MIB = 1 << 20
RANGECACHED = os.environ.get("RANGECACHED", "rangecached")
CACHECTL = os.environ.get("CACHECTL", "")
SKIPPED = 77  # what ctest takes for "skipped"


def why_no_mounts():
    """The reason why FUSE cannot be tried here, or None."""
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    if os.geteuid() != 0 and not shutil.which("fusermount3"):
        return "fusermount3 is missing"
    return None


def find_nginx():
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def wait_until(condition, what, deadline_s=30):
    """Returns the first true value of condition(); fails with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s in vain until {what}")
        time.sleep(0.01)


def run(*command, **options):
    """Runs a command that must succeed; gives its stdout."""
    options.setdefault("timeout", 240)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode != 0:
        raise AssertionError(
            f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
            f"{done.stderr.decode(errors='replace')}")
    return done.stdout


def sha256_of(path, block=MIB):
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(block):
            digest.update(data)
    return digest.hexdigest()


def write_random(path, size, seed=0):
    """A file that does not compress and in which no two blocks are alike."""
    with open(path, "wb") as file:
        state = seed.to_bytes(8, "little")
        for at in range(0, size, MIB):
            block = hashlib.shake_128(state + at.to_bytes(8, "little")).digest(4096)
            data = bytearray()
            for page in range(min(MIB, size - at) // 4096 + 1):
                data += struct.pack("<QQ", at, page) + block[16:]
            file.write(data[:min(MIB, size - at)])
    return path


def files_below(root):
    """Relative paths of all regular files that a walk finds."""
    found = []
    for directory, _, names in os.walk(root, onerror=_raise):
        found += [os.path.relpath(os.path.join(directory, name), root) for name in names]
    return sorted(found)


def _raise(error):
    raise error


class Nginx:
    """A private nginx in the foreground, its one worker the process that we hold.

    `server` is added to the server block. requests() gives what it logged: dicts with status,
    method, range, body (bytes of the body that it sent), uri, if_match and connection.
    """

    LOG_FORMAT = ('{"status":$status,"method":"$request_method","range":"$http_range",'
                  '"body":$body_bytes_sent,"uri":"$request_uri","if_match":"$http_if_match",'
                  '"if_none_match":"$http_if_none_match","connection":$connection}')

    def __init__(self, directory, root, server=""):
        self.root = root
        self.directory = directory
        os.makedirs(os.path.join(directory, "tmp"), exist_ok=True)
        self.log_path = os.path.join(directory, "access.log")
        self.process = None
        self._marker = 0
        for _ in range(20):  # the free port may be taken before nginx has it
            self.port = free_port()
            self._write_config(server)
            self.process = subprocess.Popen(
                [find_nginx(), "-p", directory, "-c", "nginx.conf", "-e", "error.log"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if wait_until(lambda: self.process.poll() is not None or self._answers(),
                          "nginx answers") and self.process.poll() is None:
                break
        else:
            with open(os.path.join(directory, "error.log"), encoding="utf-8") as log:
                raise AssertionError("nginx does not start: " + log.read())
        self.url = f"http://127.0.0.1:{self.port}/"

    def _write_config(self, server):
        temporary = "".join(
            f"  {kind}_temp_path {self.directory}/tmp/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(os.path.join(self.directory, "nginx.conf"), "w", encoding="utf-8") as conf:
            conf.write(
                f"daemon off;\nmaster_process off;\npid {self.directory}/nginx.pid;\n"
                "events { worker_connections 1024; }\n"
                f"http {{\n{temporary}"
                f"  log_format requests escape=json '{self.LOG_FORMAT}';\n"
                f"  access_log {self.log_path} requests;\n"
                "  default_type application/octet-stream;\n"
                "  sendfile on;\n  keepalive_requests 100000;\n"
                f"  server {{\n    listen 127.0.0.1:{self.port};\n    root {self.root};\n"
                "    autoindex on;\n    autoindex_exact_size on;\n"
                "    location = /.marker { return 204; }\n"
                f"{server}\n  }}\n}}\n")

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def _settle(self):
        # One worker, one event loop: when this answer is logged, so are all that were finished.
        self._marker += 1
        query = f"/.marker?{self._marker}"
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{query}", timeout=30):
            pass
        wait_until(lambda: f'"{query}"' in self._text(), "nginx has logged its requests")

    def _text(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def requests(self, prefix="/"):
        """Finished requests for paths that begin with `prefix` (as sent: percent-encoded)."""
        self._settle()
        found = []
        for line in self._text().splitlines():
            request = json.loads(line)
            if not request["uri"].startswith("/.marker") and request["uri"].startswith(prefix):
                found.append(request)
        return found

    def body_bytes(self, prefix="/"):
        """Bytes of file bodies sent: index pages and error pages do not count."""
        return sum(request["body"] for request in self.requests(prefix)
                   if request["method"] == "GET" and request["status"] in (200, 206, 499)
                   and not request["uri"].endswith("/"))

    def forget(self):
        """Begins a new account."""
        self._settle()
        os.truncate(self.log_path, 0)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)
        self.process = None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ApiError(Exception):
    """The daemon's own words."""


class Api:
    """A few messages of docs/PROTOCOL.md, spoken without the project's library."""

    PING, STATS, EVICT, SHUTDOWN = 1, 10, 14, 17
    GREETING = struct.pack("<8sHHIIIIIII", b"RNGCACHE", 1, 1, 0, 64 * MIB, 0, 0, 0, 0, 0)

    def __init__(self, path, timeout_s=30):
        self.socket = connect(path, timeout_s)
        self.socket.sendall(self.GREETING)
        self.greeting = self._exactly(40)
        self.next_id = 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError(f"the daemon closed the connection after {len(data)} bytes")
            data += more
        return data

    def send(self, message_type, payload=b"", flags=0, length=None):
        length = len(payload) if length is None else length
        self.socket.sendall(
            struct.pack("<IHHQ", length, message_type, flags, self.next_id) + payload)
        self.next_id += 1

    def receive(self):
        length, message_type, flags, _ = struct.unpack("<IHHQ", self._exactly(16))
        payload = self._exactly(length)
        if flags & 2:
            size = struct.unpack_from("<I", payload, 6)[0]
            raise ApiError(payload[10:10 + size].decode(errors="replace"))
        return message_type, payload

    def call(self, message_type, payload=b""):
        self.send(message_type, payload)
        return self.receive()[1]

    def stats(self):
        return json.loads(self.call(self.STATS))

    def evict(self, prefix=""):
        text = prefix.encode()
        return self.call(self.EVICT, struct.pack("<I", len(text)) + text)


def connect(path, timeout_s=30):
    """Through the directory's descriptor: temporary paths may be longer than sun_path."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(timeout_s)
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        client.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)
    return client


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_mounted(path):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return any(line.split()[1] == path.replace(" ", "\\040") for line in mounts)


class Daemon:
    """A daemon with directories of its own, started with --daemonize."""

    def __init__(self, directory, url=None, **options):
        self.directory = directory
        self.url = url
        # Tests count requests to the last one: none is sent twice because the machine is busy.
        self.options = {"cache-size": "4GiB", "hedge": "0", **{k.replace("_", "-"): v for k, v in options.items()}}
        self.cache_dir = os.path.join(directory, "cache")
        self.mountpoint = os.path.join(directory, "mnt")
        self.socket = os.path.join(directory, "run", "socket")
        self.log_path = os.path.join(directory, "daemon.log")
        self.pid = None
        self.env = {}  # beside what this process has
        os.makedirs(self.mountpoint, exist_ok=True)

    def command(self, *extra):
        options = [f"--{name}={value}" for name, value in self.options.items()]
        where = [self.url, self.mountpoint] if self.url else []
        if "urls" in self.options:
            where = [self.mountpoint]
        return [RANGECACHED, f"--cache-dir={self.cache_dir}", f"--socket={self.socket}",
                *options, *extra, *where]

    def environment(self):
        return {**os.environ, "HOME": self.directory, "RANGECACHE_SOCKET": self.socket, **self.env}

    def try_start(self, *extra, timeout_s=60):
        """Starts it in the background; gives what the starting process said, success or not."""
        return subprocess.run(
            self.command("--daemonize", f"--log-file={self.log_path}", *extra),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=timeout_s, env=self.environment(), check=False)

    def start(self):
        started = self.try_start()
        if started.returncode != 0:
            raise AssertionError(f"rangecached ended with {started.returncode}: {started.stderr}")
        self.pid = self.stats()["pid"]
        return self

    def stats(self):
        with Api(self.socket) as api:
            return api.stats()

    def metric(self, name):
        return self.stats()["metrics"][name]

    def evict(self):
        with Api(self.socket) as api:
            api.evict()

    def kill9(self):
        """Death without warning. The dead mount is left as the kernel leaves it."""
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(self.pid), "the killed daemon is gone")
        self.pid = None

    def drop_dead_mount(self):
        if is_mounted(self.mountpoint):
            subprocess.run(["fusermount3", "-u", "-z", self.mountpoint], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(lambda: not is_mounted(self.mountpoint), "the dead mount is gone")

    def stop(self):
        """An orderly end: SIGTERM unmounts and saves."""
        if self.pid is None:
            return
        os.kill(self.pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(self.pid), "the daemon has ended after SIGTERM", 60)
        self.pid = None
        if is_mounted(self.mountpoint):
            raise AssertionError("the daemon has ended and left its mount behind")

    def restart(self):
        self.stop()
        return self.start()

    def discard(self):
        """For tearDown: whatever state it is in, nothing stays behind."""
        if self.pid is not None and is_alive(self.pid):
            os.kill(self.pid, signal.SIGTERM)
            try:
                wait_until(lambda: not is_alive(self.pid), "the daemon ends", 30)
            except AssertionError:
                os.kill(self.pid, signal.SIGKILL)
        self.pid = None
        self.drop_dead_mount()

    def path(self, *names):
        return os.path.join(self.mountpoint, *names)

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""


def disk_use(directory, seen=None):
    """What du would say, in bytes, of a tree that changes meanwhile. A file that is renamed under way counts once."""
    seen = set() if seen is None else seen
    total = 0

    def add(status):
        if status.st_ino in seen:
            return 0
        seen.add(status.st_ino)
        return status.st_blocks * 512

    try:
        total += add(os.lstat(directory))
        entries = list(os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return total
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                total += disk_use(entry.path, seen)
            else:
                total += add(entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            pass
    return total


class DuSampler(threading.Thread):
    """Takes the disk use of a directory as often as it can, until it is told to stop."""

    def __init__(self, directory):
        super().__init__(daemon=True)
        self.directory = directory
        self.highest = 0
        self.samples = 0
        self._end = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self.join()

    def run(self):
        while True:
            used = disk_use(self.directory)
            if used > self.highest:
                # What was deleted and what was made during one look may both be in it, and then not in the next.
                self.highest = max(self.highest, min(used, disk_use(self.directory)))
            self.samples += 1
            if self._end.wait(0.02):
                return


class IntegrationTest(unittest.TestCase):
    """Gives each test a directory, and takes away whatever it started."""

    needs_mount = True
    maxDiff = None

    def setUp(self):
        if self.needs_mount and (reason := why_no_mounts()):
            self.skipTest(reason)
        if not find_nginx():
            self.skipTest("nginx is not installed")
        self.directory = tempfile.mkdtemp(prefix="rangecache-test-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.root = self.make_directory("origin")
        self.daemons = 0
        self.servers = 0

    def make_directory(self, *names):
        path = os.path.join(self.directory, *names)
        os.makedirs(path, exist_ok=True)
        return path

    def need(self, *tools):
        for tool in tools:
            if not shutil.which(tool):
                self.skipTest(f"{tool} is not installed")

    def nginx(self, server=""):
        self.servers += 1
        server = Nginx(self.make_directory(f"nginx{self.servers}"), self.root, server)
        self.addCleanup(server.stop)
        return server

    def daemon(self, url=None, **options):
        """Not started yet."""
        self.daemons += 1
        daemon = Daemon(self.make_directory(f"daemon{self.daemons}"), url, **options)
        self.addCleanup(self._discard, daemon)
        return daemon

    def run(self, result=None):
        """A test that fails prints what its daemons had to say."""
        self._logs = []
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            for log in self._logs:
                sys.stderr.write(f"--- the end of the daemon's log\n{log[-4000:]}")
        return result

    def _discard(self, daemon):
        daemon.discard()
        self._logs.append(daemon.log())

    def assert_errno(self, number, action, *arguments):
        with self.assertRaises(OSError) as caught:
            action(*arguments)
        self.assertEqual(errno.errorcode[number], errno.errorcode.get(caught.exception.errno))


def main():
    """unittest.main(), but a run of which all was skipped ends with SKIPPED."""
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    for test, reason in result.skipped:
        print(f"skipped {test.id()}: {reason}")
    sys.exit(SKIPPED if result.testsRun and len(result.skipped) == result.testsRun else 0)
