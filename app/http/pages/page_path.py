"""Where a server has its page."""

from __future__ import annotations

PAGE_PATH = "/ui"
#: Where Gradio takes the files that are dropped on it.
UPLOAD_PATH = f"{PAGE_PATH}/gradio_api/upload"


def is_of_page(path: str) -> bool:
    """Whether it is the page's, or of a file or an event of it."""
    return path == PAGE_PATH or path.startswith(f"{PAGE_PATH}/")
