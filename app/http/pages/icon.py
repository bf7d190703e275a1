"""The picture in a browser's tab."""

from __future__ import annotations

from starlette.responses import Response

#: A book's two pages.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<path fill="#0d9488" d="M1 3l6 1v10l-6-1zM15 3l-6 1v10l6-1z"/></svg>'
)


def icon() -> Response:
    """For /favicon.ico."""
    headers = {"Cache-Control": "max-age=86400"}
    return Response(ICON, media_type="image/svg+xml", headers=headers)
