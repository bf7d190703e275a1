"""Which faults `python -m octavo.bench.process_faults` is asked to make."""

from __future__ import annotations

import pytest
from octavo.bench.process_faults import read_options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--process", "engin"], "'engin' (choose from"),
        (["--process", "engin"], "media host"),
        (["--process", "server", "--process", "embedder"], "only a server of --embedding-model"),
        (["--process", "picture worker", "--stage", "loading"], "there is none at --stage loading"),
        (["--stage", "lodaing"], "'lodaing'"),
        (["--rounds", "0"], "--rounds 0: must be at least 1"),
    ],
)
def test_faults_that_nothing_would_come_of_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_faults_that_are_made() -> None:
    options = read_options(["--process", "embedder", "--embedding-model", "x", "--stage", "idle"])
    assert (options.process, options.stage, options.rounds) == (["embedder"], ["idle"], 20)
