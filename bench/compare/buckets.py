"""A bucket for the contenders: Ceph's RADOS Gateway, the one of the integration tests, in memory.

The clients talk to the same nginx as at the other origins, here as a proxy: it delays, paces, and counts
requests and bytes. It stands in front of the near bucket, too: both are counted alike, and every contender pays
for that hop."""

import os
import shutil
import sys
import tempfile

from origins import HERE, Origin

sys.path.append(os.path.join(HERE, "../../tests/integration"))
from rgw import REGION, Rgw, why_no_rgw

BUCKET = "bench"
# The signature holds for the host that the client named, so the name is handed on.
PROXY = """location / {{ proxy_pass {gateway}; proxy_set_header Host $http_host;
      proxy_http_version 1.1; proxy_max_temp_file_size 0; }}
"""


class Gateway:
    """The service with one bucket: of the folder `files`, those that `names` tells."""

    def __init__(self, files, names):
        self.directory = tempfile.mkdtemp(prefix="rangecache-bench-rgw-")
        try:
            self.rgw = Rgw(self.directory)
            self.rgw.make_bucket(BUCKET)
            for name in names:
                with open(os.path.join(files, name), "rb") as file:
                    self.rgw.put(BUCKET, name, file.read())
        except BaseException:
            self.stop()
            raise

    def stop(self):
        if hasattr(self, "rgw"):
            self.rgw.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class BucketOrigin(Origin):
    """That bucket, as Origin is a folder."""

    bucket = BUCKET
    key, secret, region = Rgw.ACCESS_KEY, Rgw.SECRET_KEY, REGION

    def __init__(self, name, gateway, files, delay_s=0, rate=0):
        self.gateway = gateway
        super().__init__(name, files, delay_s, rate)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.endpoint}/{BUCKET}/"

    def content(self):
        return PROXY.format(gateway=self.gateway.rgw.url)

    def warm(self):
        """The gateway keeps all of it in memory."""
