"""A server's page, from the server's start to its end."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from .page_path import PAGE_PATH
from .page_process import PageConfig, PageProcess
from .page_proxy import PageProxy

logger = logging.getLogger(__name__)

#: Of what is dropped on the page at once, which goes to the disk as it comes: some hundred
#: photographs, or an archive of them. What is kept in memory has the server's own bound.
_MAX_UPLOAD_BYTES = 4 * 2**30
#: What a form adds to a file that it holds.
_FORM_BYTES = 2**16
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@asynccontextmanager
async def running_page(
    config: PageConfig | None, sockets: Sequence[socket.socket], max_body_bytes: int
) -> AsyncIterator[PageProxy | None]:
    """What answers for it, while its process runs; None without a config. sockets: that the server
    listens at. max_body_bytes: of one request, but for those that bring files."""
    if config is None:
        yield None
        return
    own_url = url_from_here(sockets)
    process = PageProcess(_MAX_UPLOAD_BYTES - _FORM_BYTES)
    proxy = PageProxy(process, max_body_bytes, _MAX_UPLOAD_BYTES)
    try:
        process.launch(config, own_url)
        logger.info("the page: %s%s", own_url, PAGE_PATH)
        yield proxy
    finally:
        await process.stop()
        await proxy.close()


def url_from_here(sockets: Sequence[socket.socket]) -> str:
    """By which this machine reaches a server."""
    host, port = sockets[0].getsockname()[:2]
    host = _ANY.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
