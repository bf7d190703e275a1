"""A signal while a command's modules are imported ends it without a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

#: Sends itself a signal when a module is looked for, and runs the command.
SCRIPT = """
import os, sys
from octavo.__main__ import main
module, number = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]
class Sender:
    def find_spec(self, name, *arguments):
        if name == module:
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Sender())
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["octavo.app.cli.cli", "octavo.core.registry.registry"])
def test_it_ends_by_the_signal_alone(module: str, number: signal.Signals) -> None:
    command = [sys.executable, "-c", SCRIPT, module, str(int(number)), "serve", "--port=0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-number, "", "")
