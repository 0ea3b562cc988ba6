"""The dashboard's built files, and the one HTML document behind every page's address.

The bundle is built into the wheel (`web/` beside this module, see dashboard/build.py) and never committed. Assets carry
their hash in their names and may be kept for good; the document that names them is asked for again each time.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from .endpoint import OURS, Door, Reach, endpoint

WEB = Path(__file__).parents[1] / "web"
"""Where the built dashboard lies."""

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

SECURITY = {
    # Nothing from elsewhere is ever loaded, and no other site shows these pages in a frame.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

VIEWER_SECURITY = {
    # Draws what anybody may have logged: without an origin, and out of reach of everything but its own code.
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src data: blob:; font-src data:; connect-src data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>runstream</title>
<meta name="viewport" content="width=device-width"><style>body{font:15px/1.5 system-ui;max-width:40rem;margin:4rem auto;
padding:0 1rem;color-scheme:light dark}code{font-size:14px}</style>
<h1>The dashboard is not built</h1>
<p>This runstream runs from its sources, and the dashboard's pages have not been built yet. In the checkout, run</p>
<pre><code>make dashboard</code></pre>
<p>and reload this page. It needs a network once, and nothing installed by hand. Released packages bring the pages along.</p>
<p>The API answers meanwhile: <a href="/healthz">/healthz</a>, <code>/api/v1/runs</code>, <code>runstream sql</code>.</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes
    media_type: str
    tag: str


class Bundle:
    """The built files, held in memory since they were first asked for; read anew when they were built anew."""

    def __init__(self, folder: Path = WEB) -> None:
        self._folder = folder
        self._built = -1.0
        self._paths: dict[str, Path] = {}
        self._files: dict[str, _File] = {}

    def get(self, path: str) -> _File | None:
        """A file by its path below the folder; None: there is none."""
        try:
            built = (self._folder / "index.html").stat().st_mtime
        except OSError:
            return None
        if built != self._built:
            self._paths = {
                file.relative_to(self._folder).as_posix(): file
                for file in self._folder.rglob("*")
                if file.suffix in MEDIA_TYPES
            }
            self._files = {}
            self._built = built
        file = self._files.get(path)
        if file is None and path in self._paths:
            file = self._files[path] = _read(self._paths[path])
        return file


def _read(file: Path) -> _File:
    body = file.read_bytes()
    tag = hashlib.sha256(body).hexdigest()[:16]
    return _File(body, gzip.compress(body, 9, mtime=0), MEDIA_TYPES[file.suffix], f'"{tag}"')


_bundle = Bundle()


async def send_page(request: Request) -> Response:
    """The document of every page; which one is shown the address says."""
    file = await asyncio.to_thread(_bundle.get, "index.html")
    if file is None:
        headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        }
        return Response(NOT_BUILT, 503, headers, "text/html; charset=utf-8")
    return _send(request, file, "no-cache", SECURITY)


async def send_viewer(request: Request) -> Response:
    """The document of the frame in which a page draws a figure."""
    file = await asyncio.to_thread(_bundle.get, "viewer.html")
    if file is None:
        return Response("no such page\n", 404, {"Cache-Control": "no-store"}, "text/plain; charset=utf-8")
    return _send(request, file, "no-cache", VIEWER_SECURITY)


async def send_asset(request: Request) -> Response:
    """A file whose name holds its hash, or the icon."""
    path = str(request.scope["path"]).lstrip("/")
    file = await asyncio.to_thread(_bundle.get, path)
    if file is None:
        return Response("no such file\n", 404, {"Cache-Control": "no-store"}, "text/plain; charset=utf-8")
    if not path.startswith("assets/"):
        return _send(request, file, "max-age=3600", SECURITY)
    # The viewer's frame has no origin, so that our own code comes to it from another one. It is the same for everybody.
    shared = {"Cross-Origin-Resource-Policy": "cross-origin", "Access-Control-Allow-Origin": "*"}
    return _send(request, file, "public, max-age=31536000, immutable", SECURITY | shared)


def _send(request: Request, file: _File, cache: str, security: Mapping[str, str]) -> Response:
    headers = {**security, "ETag": file.tag, "Cache-Control": cache, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    body = file.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = file.packed, "gzip"
    return Response(body, 200, headers, file.media_type)


ENDPOINTS = (
    endpoint("GET /viewer.html", Door.PAGE, Reach.ALL, OURS)(send_viewer),
    *(
        endpoint(f"GET {path}", Door.PAGE, Reach.ALL, OURS)(send_page)
        for path in (
            "/",
            "/experiments",
            "/experiments/id/{id}",
            "/experiments/id/{id}/notes",
            "/runs/{run_id:path}",
            "/alerts",
            "/compare",
            "/compute",
            "/compute/{target:path}",
            "/reports",
            "/reports/new",
            "/reports/id/{report_id}",
        )
    ),
    *(
        endpoint(f"GET {path}", Door.PAGE, Reach.ALL, OURS)(send_asset)
        for path in ("/assets/{path:path}", "/favicon.svg")
    ),
)
