"""The servers that the contenders read from: nginx on loopback, near and far.

The far one waits before it answers a request, and gives each connection a rate of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = "/usr/lib/nginx/modules"
LUA = ("ndk_http_module.so", "ngx_http_lua_module.so")

CONFIG = """
{user}
{modules}
worker_processes 1;
pid {root}/pid; error_log {root}/error.log warn;
env PACE; env LD_PRELOAD;
events {{ worker_connections 4096; }}
http {{
  default_type application/octet-stream;
  log_format bytes '$server_port $status $body_bytes_sent';
  access_log {root}/access.log bytes;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 300; keepalive_requests 1000000;
  {servers}
}}
"""
SERVER = """
  server {{ listen 127.0.0.1:{port} backlog=1024; {content} {delay} }}
"""
FOLDER = """root {files}; autoindex on; autoindex_exact_size on;
    add_header Accept-Ranges bytes;  # httpdirfs gives up without it; nginx sends it with a 200 only
"""
# nginx as a contender: slices of 1 MiB in its cache.
SLICE = """
  proxy_cache_path {root}/slices keys_zone=slices:10m max_size=8g;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 32; }}
  server {{ listen 127.0.0.1:{port} backlog=1024; access_log off;
    location / {{ slice 1m; proxy_cache slices; proxy_cache_key $uri$slice_range;
      proxy_set_header Range $slice_range; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache_valid 200 206 1h; proxy_pass http://origin; }} }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop_process(process, wait_s=20):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_port(port, process, wait_s=20):
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}")


class Nginx:
    """One nginx with the servers of `text`; `pace` maps ports to bytes a second."""

    def __init__(self, root, servers, modules="", pace=None):
        os.makedirs(root, exist_ok=True)
        config = os.path.join(root, "nginx.conf")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(root=root, servers=servers, modules=modules,
                                     user="user root;" if os.geteuid() == 0 else ""))
        environment = dict(os.environ)
        if pace:
            environment["PACE"] = ",".join(f"{port}:{rate}" for port, rate in pace.items())
            environment["LD_PRELOAD"] = os.path.join(root, "pace.so")
            subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", environment["LD_PRELOAD"],
                            os.path.join(HERE, "pace.c"), "-ldl"], check=True)
        self.log_path = os.path.join(root, "access.log")
        nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        self.process = subprocess.Popen(
            [nginx, "-p", root, "-c", config, "-g", "daemon off;"], env=environment,
            stderr=subprocess.DEVNULL)

    def stop(self):
        stop_process(self.process)


class Origin:
    """A server of the folder `files`. `delay_s` a request, `rate` bytes a second and connection."""

    bucket = None  # see BucketOrigin

    def __init__(self, name, files, delay_s=0, rate=0):
        self.name, self.files, self.delay_s, self.rate = name, files, delay_s, rate
        self.root = tempfile.mkdtemp(prefix="rangecache-bench-origin-")
        os.chmod(self.root, 0o755)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        modules = "".join(f"load_module {MODULES}/{name};\n" for name in LUA) if delay_s else ""
        delay = f"rewrite_by_lua_block {{ ngx.sleep({delay_s}) }}" if delay_s else ""
        self.nginx = Nginx(self.root,
                           SERVER.format(port=self.port, content=self.content(), delay=delay),
                           modules, {self.port: rate} if rate else None)
        await_port(self.port, self.nginx.process)
        self._seen = 0

    def content(self):
        """What the server serves, as nginx says it."""
        return FOLDER.format(files=self.files)

    def __str__(self):
        if not self.delay_s:
            return self.name
        return f"{self.name} ({self.delay_s * 1000:.0f} ms, {self.rate / 1e6:.0f} MB/s a connection)"

    def warm(self):
        """Brings all files into the page cache."""
        for directory, _, names in os.walk(self.files):
            for name in names:
                with open(os.path.join(directory, name), "rb", buffering=0) as file:
                    while file.read(1 << 20):
                        pass

    def forget(self):
        """Traffic counts from here on."""
        self._seen = os.path.getsize(self.nginx.log_path)

    def settle(self, quiet_s=0.2):
        """Waits until the log grows no more."""
        size = -1
        while size != (size := os.path.getsize(self.nginx.log_path)):
            time.sleep(quiet_s)

    def traffic(self):
        """(requests, body bytes) since forget()."""
        requests = total = 0
        with open(self.nginx.log_path, encoding="utf-8") as log:
            log.seek(self._seen)
            for line in log:
                words = line.split()
                if len(words) == 3:
                    requests += 1
                    total += int(words[2])
        return requests, total

    def stop(self):
        self.nginx.stop()
        shutil.rmtree(self.root, ignore_errors=True)


def why_no_far():
    missing = [name for name in LUA if not os.path.exists(os.path.join(MODULES, name))]
    return f"nginx lacks {missing[-1]} (libnginx-mod-http-lua)" if missing else None
