"""What stands in the page's place while its process starts."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from .page_process import PageProcess
from .plain_page import plain_page

_RELOAD_S = 1
_STARTS = "The page is starting; it will be here in a few seconds."


def waiting_page(http: Request, process: PageProcess) -> Response:
    """It comes anew by itself, unless that would never end."""
    if process.is_hopeless:
        seconds = process.seconds_to_start
        what = (
            "The page's process ends as soon as it is started; the server's log says why. "
            f"The server tries again in {seconds} s."
        )
    else:
        seconds, what = _RELOAD_S, _STARTS
    headers = {"Retry-After": str(seconds)}
    if "text/html" not in http.headers.get("accept", ""):
        return PlainTextResponse(what, 503, headers)
    again = '<p><a href="">Look again</a></p>' if process.is_hopeless else ""
    body = f'<h1>Octavo</h1>\n<p role="status">{what}</p>\n{again}'
    reload_after = None if process.is_hopeless else seconds
    return plain_page("Octavo", body, 503, reload_after, headers)
