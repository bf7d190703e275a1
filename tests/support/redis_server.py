"""Real Redis and Valkey servers for tests, each in a temporary folder and without persistence."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from redis import Redis

NAMES = ("redis-server", "valkey-server")
MISSING = "no redis-server or valkey-server is installed: run scripts/test, or install either"


def find_servers() -> list[str]:
    """The servers on PATH or beside the interpreter, where scripts/test puts them."""
    places = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent)))
    return [path for name in NAMES if (path := shutil.which(name, path=places))]


def has_tls(binary: str) -> bool:
    """Whether a server was built with TLS."""
    command = [binary, "--port", "0", "--tls-port", "1", "--save", ""]
    output = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
    return "tls-cert-file" in output  # which it misses, if it knows what that is


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate for 127.0.0.1 that vouches for itself."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=octavo-test"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


class RedisServer:
    """A server at `url` and, but for TLS, at `unix_url`; ends with the `with` block.

    password: of the default user.
    maxmemory: bytes, after which writes are refused.
    tls: a key and a certificate, as of `make_certificate`; then it speaks nothing else over TCP.
    """

    def __init__(
        self,
        binary: str,
        *,
        password: str | None = None,
        maxmemory: int = 0,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        # A socket's path must be short, so this is not pytest's folder.
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket_path = self.folder / "redis.sock"
        self.port = _free_port()
        self.password = password
        scheme, credentials = "rediss" if tls else "redis", f":{password}@" if password else ""
        query = f"?ssl_ca_certs={tls[1]}" if tls else ""
        self.url = f"{scheme}://{credentials}127.0.0.1:{self.port}/0{query}"
        self.unix_url = f"unix://{self.socket_path}?db=0"
        settings = {
            "port": 0 if tls else self.port,
            "bind": "127.0.0.1",
            "unixsocket": self.socket_path,
            "dir": self.folder,
            "save": "",
            "appendonly": "no",
            "maxmemory": maxmemory,
            "maxmemory-policy": "noeviction",
        }
        if password:
            settings["requirepass"] = password
        if tls:
            settings |= {"tls-port": self.port, "tls-auth-clients": "no"}
            settings |= {
                "tls-key-file": tls[0],
                "tls-cert-file": tls[1],
                "tls-ca-cert-file": tls[1],
            }
        self._command = [binary]
        for name, value in settings.items():
            self._command += [f"--{name}", str(value)]
        self._process = self._start()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def client(self) -> Redis:
        """A plain client, to look at and change what is stored."""
        return Redis(unix_socket_path=str(self.socket_path), password=self.password)

    def kill(self) -> None:
        """End it at once, with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let it take connections and answer nothing, as a machine that hangs."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again at the same address, empty."""
        self.kill()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[Any]:
        log = self.folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(self._command, stdout=output, stderr=output)
        deadline = time.monotonic() + 20
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise RuntimeError(f"{self._command[0]} does not start: {log.read_text()}")
            time.sleep(0.01)
        return process

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.socket_path))
                client.sendall(b"PING\r\n")
                return client.recv(64) != b""
            except OSError:  # not there yet, or left by one that was killed
                return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
