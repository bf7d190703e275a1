"""What a server and the page's process, which is its child, tell each other."""

from __future__ import annotations

import msgspec


class PageSettings(msgspec.Struct, frozen=True, tag=True):
    """base_url: of the server that the page asks. is_own: whether that is the parent, which no
    proxy of the environment leads to. folder: for what is dropped on the page, and for the socket.
    max_file_bytes: of one file."""

    base_url: str
    api_key: str | None
    is_own: bool
    folder: str
    max_file_bytes: int

    @property
    def socket(self) -> str:
        """The path of the Unix socket that the page listens at."""
        return f"{self.folder}/socket"


class PageListens(msgspec.Struct, frozen=True, tag=True):
    """The page can be asked for."""
