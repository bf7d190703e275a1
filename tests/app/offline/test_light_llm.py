"""What a model of a plugin is loaded without."""

from __future__ import annotations

import subprocess
import sys

#: Each takes a second or more to import: models of transformers, and torch's compiler.
HEAVY = ("transformers", "torchvision", "torch._dynamo", "triton", "gguf", "sympy")
RUN = f"""
import sys
from octavo import LLM, SamplingParams
llm = LLM(kv_cache_memory=2**24)
llm.generate("Hello", SamplingParams(max_tokens=2))
print([name for name in {HEAVY} if name in sys.modules])
"""


def test_nothing_heavy_is_imported_besides_torch() -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
