"""What went wrong, as a sentence."""

from __future__ import annotations


def sentence(text: str) -> str:
    """With a capital letter and a full stop; "" stays so."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if not text or text[-1] in ".!?…" else ".")
