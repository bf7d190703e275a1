"""Texts on which tokenizers differ, if they do."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import octavo


@cache
def varied_text() -> list[str]:
    """Prose and code of the repository, scripts of the world, spaces of all kinds, special
    tokens, and random characters from all of Unicode, with a fixed seed."""
    root = Path(octavo.__file__).parent
    pages = [path.read_text() for path in sorted((root / "docs").glob("*.md"))[:8]]
    modules = [path.read_text() for path in sorted((root / "core" / "protocol").glob("*.py"))[:8]]
    written = [
        "Où est l'hôtel ? J'ai oublié; I'll've DON'T we're It'S",
        "北京市今天的天气很好。東京は日本の首都です。서울은 대한민국의 수도입니다.",
        "Привет, мир! Γειά σου Κόσμε! שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก",
        "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 ﬁ ½ ² Ⅷ ١٢٣ 12345678 1,234.56 v1.2.3 a1b22c333",
        "  two\t\ttabs \r\n\r\n lines \n \n\n\u00a0\u2003\u200b\u3000 end   ",
        "<s>a</s> <unk><x> <|tool|>b<think> c ▁▁ d ▁ e   f",
        "",
        " ",
        "\n",
    ]
    generator = random.Random(0)
    points = [p for p in range(1, 0x110000) if not 0xD800 <= p < 0xE000]
    noise = ["".join(map(chr, generator.choices(points, k=200))) for _ in range(20)]
    mixed = ["".join(generator.sample("aB1 \n\t'.ß世▁<>", k=12)) for _ in range(200)]
    return [*written, *pages, *modules, *noise, *mixed]
