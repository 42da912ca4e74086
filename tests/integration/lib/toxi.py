"""Toxiproxy: latency, stalls and resets between a mount and the server.

    proxy = toxi.proxy(server.port); proxy.latency(20); mount(url=proxy.url)

Threads: any. Owns the process.
"""
import atexit
import json
import os
import subprocess
import urllib.request

from .s3server import TOOLS, die_with_parent, ensure_tools, free_port, wait_for


class Toxiproxy:
    def __init__(self):
        ensure_tools("toxiproxy")
        self.api = f"http://127.0.0.1:{free_port()}"
        self.process = subprocess.Popen(
            [os.path.join(TOOLS, "toxiproxy-server"), "-host", "127.0.0.1", "-port", self.api.rsplit(":", 1)[1]],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        atexit.register(self.close)
        self._names = 0

        def up():
            try:
                return self.call("GET", "/version")
            except OSError:
                return None
        wait_for(up, 20, "toxiproxy", 0.02)

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.api + path, method=method,
                                         data=json.dumps(body).encode() if body is not None else None,
                                         headers={"Content-Type": "application/json", "User-Agent": "s3cache-test"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.read().decode()

    def proxy(self, upstream_port):
        self._names += 1
        return Proxy(self, f"p{self._names}", upstream_port)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Proxy:
    def __init__(self, owner, name, upstream_port):
        self.owner, self.name, self.port = owner, name, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        owner.call("POST", "/proxies", {"name": name, "listen": f"127.0.0.1:{self.port}", "enabled": True,
                                        "upstream": f"127.0.0.1:{upstream_port}"})

    def toxic(self, kind, stream="downstream", toxicity=1.0, **attributes):
        name = f"{kind}_{stream}"
        self.owner.call("POST", f"/proxies/{self.name}/toxics",
                        {"name": name, "type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes})
        return name

    def clear(self, name):
        self.owner.call("DELETE", f"/proxies/{self.name}/toxics/{name}")

    def latency(self, ms):
        return self.toxic("latency", latency=ms, jitter=0)

    def stall(self):
        """Nothing more comes through, connections stay open (timeout 0 means for ever)."""
        return self.toxic("timeout", timeout=0)

    def reset_after(self, ms):
        return self.toxic("reset_peer", timeout=ms)

    def cut_after(self, n_bytes):
        """The connection closes after so many bytes of answer."""
        return self.toxic("limit_data", bytes=n_bytes)

    def enable(self, on):
        self.owner.call("POST", f"/proxies/{self.name}", {"enabled": on})

    def remove(self):
        try:
            self.owner.call("DELETE", f"/proxies/{self.name}")
        except OSError:
            pass
