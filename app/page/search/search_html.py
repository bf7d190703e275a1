"""What the tab "Search" says of its pictures, as HTML."""

from __future__ import annotations

from html import escape
from pathlib import Path

from .picture_index import MOST_PICTURES, PictureIndex

CSS = """
p { margin: 0; }
progress { width: 100%; accent-color: var(--primary-500); }
ul { margin: 0.4rem 0 0; padding: 0; list-style: none; max-height: 12rem; overflow-y: auto; }
li { padding-left: 0.6rem; border-left: 3px solid var(--error-icon-color);
  margin-top: 0.3rem; overflow-wrap: anywhere; }
"""


def progress_html(done: int, total: int) -> str:
    """While pictures are embedded."""
    name = "Embedding pictures"
    return (
        f'<p role="status">{name}: {done} of {total}</p>'
        f'<progress aria-label="{name}" value="{done}" max="{max(total, 1)}"></progress>'
    )


def state_html(index: PictureIndex) -> str:
    """What can be searched, and what can't."""
    sentences = [f"{_pictures(len(index.vectors))} can be searched."]
    if index.left_out:
        sentences.append(
            f"{_pictures(index.left_out)} left out: at most {MOST_PICTURES:,} are held for a visit."
        )
    if index.broken:
        sentences.append(f"{_pictures(len(index.broken))} can't be:")
    faults = "".join(
        f"<li><strong>{escape(Path(path).name)}</strong>: {escape(why)}</li>"
        for path, why in index.broken.items()
    )
    return f'<p role="status">{" ".join(sentences)}</p>' + (faults and f"<ul>{faults}</ul>")


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"
