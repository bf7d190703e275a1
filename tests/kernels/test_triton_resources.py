"""The Triton kernels compile without a GPU, and fit those that they are meant for."""

from __future__ import annotations

import re
from pathlib import Path

import octavo
import pytest

pytest.importorskip("triton")

from octavo.kernels import triton as kernels
from octavo.kernels.triton.launches import server_launches
from octavo.kernels.triton.resources import REGISTER_LIMIT, SHARED_LIMITS, compile_launches

pytestmark = pytest.mark.triton

DOCS = Path(octavo.__file__).parent / "docs" / "gpu-kernels.md"
LAUNCHES = {f"{launch.op}: {launch.shape}": launch for launch in server_launches()}
#: One of each kind, those with the most registers among them; the command compiles all.
COMPILED = [
    "paged_attention: decode, many splits, heads 32/8 of 128",
    "paged_attention: prefill, all options, heads 32/8 of 128",
    "paged_attention: prefill, all options, heads 32/8 of 128, float8_e4m3fn",
    "write_kv: heads 8 of 128, int8",
    "add_rms_norm: 8192 wide",
    "rotary_write_kv: heads 32/8 of 128, 128 rotated",
    "dequant_linear: int8, one scale a channel, 2048 rows",
    "dequant_linear: int4, groups of 64, 1 row",
    "sample_top_k_top_p: vocabulary of 128256",
]


@pytest.mark.parametrize("arch", SHARED_LIMITS)
@pytest.mark.parametrize("name", COMPILED)
def test_kernels_fit(name: str, arch: int) -> None:
    usages = compile_launches(LAUNCHES[name].call, arch)
    assert usages
    for usage in usages:
        assert usage.spills == 0
        assert usage.registers <= REGISTER_LIMIT
        assert usage.registers * usage.num_warps * 32 <= 65536
        assert usage.shared <= SHARED_LIMITS[arch]


def test_every_op_is_compiled_by_the_command() -> None:
    assert {launch.op for launch in LAUNCHES.values()} == set(kernels.__all__)


def test_the_page_lists_every_launch_within_bounds() -> None:
    """The page holds the command's table; should launches change, print it anew."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOCS.read_text().splitlines()
        if re.match(r"\| \w+ \| .* \| \w+ \| (80|90) \|", line)
    ]
    assert {f"{op}: {shape}" for op, shape, *_ in rows} == set(LAUNCHES)
    for _, _, _, arch, _, registers, shared, spills in rows:
        assert int(registers) <= REGISTER_LIMIT
        assert int(shared.replace(",", "")) <= SHARED_LIMITS[int(arch)]
        assert spills == "0"
