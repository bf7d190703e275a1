"""A model's words as Markdown that holds no HTML and no pictures of elsewhere. What shows it should
sanitise it all the same; this makes that tags are seen as they were written."""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(```+|~~~+)([^`]*)$")
#: Code within a line, or the start of a tag or a picture.
_RISKY = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)|<(?=[A-Za-z/!?])|!(?=\[)")


def as_markdown(text: str) -> str:
    """Tags and pictures outside of code get a backslash."""
    lines, fence = [], ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if not fence:
            fence = found[1] if found else ""
            lines.append(line if found else _RISKY.sub(_escaped, line))
            continue
        if found and found[1].startswith(fence) and not found[2].strip():
            fence = ""
        lines.append(line)
    return "\n".join(lines)


def _escaped(found: re.Match[str]) -> str:
    return found[0] if found[1] else f"\\{found[0]}"
