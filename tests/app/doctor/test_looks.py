"""What the doctor says of parts of the machine that are not as they should be."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from octavo.app.doctor import caches, machine, self_test_process
from octavo.app.doctor.encoder_store import look_at_store
from octavo.core.models import loader
from octavo.core.system import control_group, memory
from redis_server import MISSING, RedisServer, find_servers


def test_a_control_group_with_less_time_than_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_group, "_ROOT", tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    _, (status, text), *_ = machine.look_at_threads()
    assert status == "warn"
    assert "the control group gets 0.5 processors' time" in text
    assert "OMP_NUM_THREADS=1" in text
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert control_group.processor_quota() is None


def test_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 3 * 2**28)
    monkeypatch.setattr(machine, "memory_limit", lambda: 2**30)
    ((status, text),) = machine.look_at_memory()
    assert status == "warn"
    assert text.startswith("768 MiB of ")
    assert "1.0 GiB at most for this control group" in text
    with open("/proc/meminfo") as meminfo:
        assert memory.total_memory() == int(meminfo.readline().split()[1]) * 1024


def test_a_gpu_that_the_container_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the driver of NVIDIA describes it."""
    card = tmp_path / "gpus" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 16\n")
    monkeypatch.setattr(machine, "_DRIVER", tmp_path)
    monkeypatch.setattr(machine, "_CONTROL_DEVICE", tmp_path / "nvidiactl")
    monkeypatch.setattr(machine, "version", lambda name: "2.9.1+cpu")
    found, absent, built = machine.look_at_accelerator()
    assert found == ("ok", "NVIDIA H200")
    assert absent[0] == built[0] == "warn"
    assert "--gpus all" in absent[1]
    assert "torch 2.9.1+cpu is for processors alone" in built[1]


def test_the_size_of_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link, as in the hub's, counts nothing; nothing is left of trying to write."""
    folder = tmp_path / "octavo" / "verdicts"
    folder.mkdir(parents=True)
    (folder / "blob").write_bytes(bytes(5 * 2**20))
    (folder / "link").symlink_to("blob")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("OCTAVO_KERNEL_CACHE", str(tmp_path / "none"))
    told = [text for _, text in caches.look_at_caches()]
    assert f"verdicts on deployed models: {folder} holds 5 MiB, " in told[3]
    assert f"compiled kernels: {tmp_path}/none not there yet, " in told[1]
    assert sorted(os.listdir(folder)) == ["blob", "link"]
    assert sorted(os.listdir(tmp_path)) == ["octavo"]


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "OCTAVO_KERNEL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    found = list(caches.look_at_caches())
    assert [status for status, _ in found[1:]] == ["warn"] * 4
    assert "Could not determine home directory.; they go to a temporary folder" in found[1][1]


@pytest.mark.redis
@pytest.mark.skipif(not find_servers(), reason=MISSING)
def test_a_store_that_keeps_what_is_written() -> None:
    with RedisServer(find_servers()[0], password="hunter2") as server:
        ((status, text),) = look_at_store(server.url)
        assert status == "ok"
        assert "hunter2" not in text
        with server.client() as client:
            assert client.dbsize() == 0
        wrong = server.url.replace("hunter2", "hunter3")
        ((status, text),) = look_at_store(wrong)
    assert status == "FAIL"
    assert "hunter" not in text
    ((status, text),) = look_at_store(server.url)  # which has ended
    assert status == "FAIL"
    assert text.endswith("a server would go on without it, and encode every image anew")


def test_a_kernel_that_computes_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = loader.choose_kernels

    def choose_wrong(*arguments: Any) -> Any:
        table = choose(*arguments)
        return dataclasses.replace(table, rms_norm=lambda x, weight, eps: x * torch.nan)

    device = torch.device("cpu")
    assert {status for status, _ in self_test_process._compare_kernels(device)} == {"ok"}
    monkeypatch.setattr(loader, "choose_kernels", choose_wrong)
    told = {text.split()[0]: status for status, text in self_test_process._compare_kernels(device)}
    assert told == {"rms_norm": "FAIL", "linear": "ok"}


def test_kernels_that_the_environment_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTAVO_KERNELS", "rms_norm=reference")
    remarks = list(self_test_process._compare_kernels(torch.device("cpu")))
    assert ("warn", "rms_norm runs by torch's operators: OCTAVO_KERNELS asks for it") in remarks
