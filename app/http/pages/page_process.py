"""The page's process, as the server holds it: started, watched, and started again."""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ....core.process.child_process import ChildProcess, Spawned
from ....core.process.restart_pause import RestartPause
from .page_messages import PageListens, PageSettings

logger = logging.getLogger(__name__)

#: What runs in the child; see Spawned.
PAGE_MODULE = "octavo.app.page.run_page"
_STALL_TIMEOUT_S = 60.0
#: After so many deaths in a row before the page was there, no visitor is told to wait.
_HOPELESS = 3
#: Characters of the temporary folder's name, as a socket's may have 107.
_LONGEST_FOLDER = 60


@dataclass(frozen=True)
class PageConfig:
    """child: a process of PAGE_MODULE. base_url: of the server that the page asks; None is the one
    that starts it. api_key: of that server."""

    child: Spawned
    base_url: str | None = None
    api_key: str | None = None


class PageProcess:
    """Use from one event loop: `launch`, at last `stop`. max_file_bytes: of one that is dropped on
    the page."""

    def __init__(self, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes
        long = len(tempfile.gettempdir()) > _LONGEST_FOLDER
        # Ours, as a process that is killed would leave it behind.
        self._folder = tempfile.TemporaryDirectory(
            prefix="octavo-page-", dir="/tmp" if long else None
        )
        self._settings: PageSettings | None = None
        self._process: ChildProcess[PageListens] | None = None
        self._pause = RestartPause()
        self._deaths = 0
        self._next_start = 0.0
        self._stopping = False
        #: Whether the page can be asked for, as far as is known.
        self.is_ready = False

    @property
    def socket(self) -> str:
        """The path of the Unix socket that it listens at."""
        return str(Path(self._folder.name, "socket"))

    @property
    def is_hopeless(self) -> bool:
        """Whether one process after another has died before the page was there."""
        return self._deaths >= _HOPELESS

    @property
    def seconds_to_start(self) -> int:
        """Until the next start, of one that has died."""
        return max(1, math.ceil(self._next_start - time.monotonic()))

    def launch(self, config: PageConfig, own_url: str) -> None:
        """Have the child of `config` serve the page. own_url: this server's, for a page about
        it."""
        self._settings = PageSettings(
            config.base_url or own_url,
            config.api_key,
            config.base_url is None,
            self._folder.name,
            self._max_file_bytes,
        )
        self._start(config.child)

    async def stop(self) -> None:
        """End the process, start no other, and remove what it kept."""
        self._stopping = True
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)
        await asyncio.to_thread(self._folder.cleanup)

    def _start(self, child: Spawned) -> None:
        loop = asyncio.get_running_loop()
        self._pause.started()

        def post(callback: Callable[[], None]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback)

        def on_exit(reason: str) -> None:
            for path in Path(self._folder.name).iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            post(lambda: self._bury(reason))

        self._process = ChildProcess(
            child,
            self._settings,
            PageListens,
            on_message=lambda message: post(self._welcome),
            on_exit=on_exit,
            stall_timeout=_STALL_TIMEOUT_S,
        )

    def _welcome(self) -> None:
        self._pause.loaded()
        self.is_ready = True
        self._deaths = 0

    def _bury(self, reason: str) -> None:
        self.is_ready = False
        if self._stopping:
            return
        self._deaths += 1
        pause = self._pause.after_death()
        self._next_start = time.monotonic() + pause
        when = f"in {pause:.0f} s" if pause else "now"
        logger.error("the page's process died (%s); starting another %s", reason, when)
        asyncio.get_running_loop().call_later(pause, self._restart)

    def _restart(self) -> None:
        if not self._stopping:
            self._start(Spawned(PAGE_MODULE))
