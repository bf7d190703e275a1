"""llama.cpp's server, over loopback HTTP; language models alone."""

from __future__ import annotations

import atexit
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .loop import Answer, Options, run_engine

_START_S = 120
_CALL_S = 600


class LlamaCppEngine:
    """See Engine. The server ends with this process. Raises RuntimeError if it doesn't start."""

    def __init__(self, options: Options) -> None:
        num_slots = options["max_num_seqs"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        binary = options["llama_server"]
        told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
        # "version: 0.5.0 (build 1, commit …)"
        self.version = (told.stderr + told.stdout).partition("version: ")[2].split()[0]
        threads = str(options["threads"])
        settings = ["--threads", threads, "--threads-batch", threads]
        settings += ["--ctx-size", str(num_slots * options["slot_tokens"])]
        settings += ["--parallel", str(num_slots), "--host", "127.0.0.1", "--port", str(port)]
        self._server = subprocess.Popen([binary, "--model", options["model"], *settings])
        atexit.register(self._server.terminate)
        self._wait()
        self._threads = ThreadPoolExecutor(num_slots)

    def complete(self, prompts: list[list[int]], max_tokens: int) -> list[Answer]:
        """See Engine."""
        return list(self._threads.map(lambda prompt: self._post(prompt, max_tokens), prompts))

    def describe(self, images: list[Any], question: str, max_tokens: int) -> list[Answer]:
        """Not measured: it cuts these images into tiles, so the work is not the same."""
        raise NotImplementedError("llama.cpp is measured with text alone")

    def _post(self, prompt: list[int], max_tokens: int) -> Answer:
        body = {
            "prompt": prompt,
            "n_predict": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": True,
        }
        request = urllib.request.Request(
            f"{self._url}/completion",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_CALL_S) as response:
            answer = json.load(response)
        return Answer(len(prompt), answer["tokens_predicted"])

    def _wait(self) -> None:
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self._server.poll() is None:
            try:
                with urllib.request.urlopen(f"{self._url}/health", timeout=2):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise RuntimeError("llama-server did not start")


if __name__ == "__main__":
    run_engine(LlamaCppEngine)
