"""What a real shell offers at a press of Tab, with the script of `octavo completion`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from octavo.__main__ import main

BASH = shutil.which("bash")
#: Completes the words after the script's name as bash does at a press of Tab, without readline.
PRESS_TAB = """
source "$1"; shift
COMP_WORDS=(octavo "$@"); COMP_CWORD=$#; COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
function=$(complete -p octavo | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" octavo "${!#}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Tab is pressed: a picture, a checkpoint's folder."""
    folder = tmp_path_factory.mktemp("completed")
    (folder / "dog.png").touch()
    (folder / "checkpoint").mkdir()
    return folder


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "octavo.bash"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_what_bash_offers(folder: Path, script: Path) -> None:
    for line, offered in (
        ("se", {"serve"}),
        ("plugins ", {"list", "check"}),
        ("bench encod", {"encoder-cache"}),
        (
            "serve --max-num",
            {"--max-num-seqs", "--max-num-batched-tokens", "--max-num-queued-reqs"},
        ),
        ("serve --no-enable", {"--no-enable-prefix-caching"}),
        ("serve --max-num-seqs 8 --po", {"--port"}),
        ("verify --dtype b", {"bfloat16"}),
        ("serve che", {"checkpoint"}),
        ("chat --image d", {"dog.png"}),
        ("caption --workers http://a --pa", {"--paths"}),
        ("completion ", {"bash", "zsh", "fish"}),
    ):
        words = line.split(" ")
        command = ["bash", "--norc", "-c", PRESS_TAB, "bash", str(script), *words]
        told = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        assert set(told.stdout.split()) == offered, (line, told.stderr)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_script_that_its_shell_reads(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "octavo" in script
    assert "max-num-batched-tokens" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=60)
