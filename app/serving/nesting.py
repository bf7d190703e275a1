"""How deeply JSON is nested, told from its bytes before anything walks through it."""

from __future__ import annotations

#: Levels of lists and objects; what renders templates and writes JSON recurses once for each.
MAX_NESTING = 100
_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHER_BYTES = bytes(set(range(256)) - set(b'[]{}"'))


def is_nested_too_deep(json: bytes | bytearray) -> bool:
    """Whether valid JSON has more than MAX_NESTING levels. Takes a few passes at memory's speed,
    so that a large body doesn't hold the processor."""
    if json.count(b"[") + json.count(b"{") <= MAX_NESTING:
        return False
    # Escapes are taken out from left to right, so that the quotes that are left bound strings.
    unescaped = json.replace(b"\\\\", b"").replace(b'\\"', b"")
    outline = unescaped.translate(_AS_BRACKETS, _OTHER_BYTES).replace(b'""', b"")
    brackets = b"".join(outline.split(b'"')[::2])
    for _ in range(MAX_NESTING):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # the innermost level of each branch
    return bool(brackets)
