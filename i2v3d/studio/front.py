"""The door of the studio: one address for the page, its films and viser, which has neither names nor passwords.

viser listens on loopback only, at an address and port that nobody is told. Whoever comes here must name this host,
come from this page itself if a browser says where from, and, where others can reach it, show the token.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import ClientSession, WSMsgType, web

from i2v3d.errors import ArtifactError, ConfigError, InputError, MachineError

COOKIE = "i2v3d_token"
LARGEST_MESSAGE = 50 * 2**20  # viser's own; uploads come in pieces
FRAME = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "SAMEORIGIN",
}
PASSED = ("content-type", "content-encoding")
TICK_S = 0.04  # between two looks at the timeline
PATIENCE_S = 1.0  # that open pages get once the door closes
OWN_PAGES = "default-src 'self' 'unsafe-inline'"
STRICT_PAGES = "sandbox allow-scripts; default-src 'self' 'unsafe-inline' data: blob:"


@dataclass(frozen=True)
class Door:
    """Where the page is reached. token: what a browser must show; None: only this machine can reach it."""

    host: str
    port: int
    token: str | None

    @staticmethod
    def checked(host: str, port: int, token: str | None) -> Door:
        """Raises ConfigError for a host beyond loopback without a token, or a short one."""
        if token is not None and len(token) < 16:
            raise ConfigError(
                "--token is shorter than 16 characters; use a longer one, such as openssl rand -hex 16"
            )
        if not is_loopback(host) and token is None:
            raise ConfigError(
                f"--host {host} can be reached by others, who could run programs here; add --token TOKEN "
                f"(such as {secrets.token_urlsafe(24)}), or reach loopback through ssh -L {port}:127.0.0.1:{port}"
            )
        return Door(host, port, token)

    def url(self, port: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}/" + (f"?token={self.token}" if self.token else "")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def hidden_address() -> str:
    """A loopback address that pages of other sites cannot guess, where the system has more than one."""
    if not sys.platform.startswith("linux"):
        return "127.0.0.1"
    a, b, c = secrets.randbelow(255), secrets.randbelow(255), 1 + secrets.randbelow(254)
    return f"127.{a}.{b}.{c}"


@dataclass(frozen=True)
class Served:
    """What is found here beside viser's page; all but `moment` raise InputError or ConfigError for what is not there.

    result: a file below results/ by its path. film: of a render, by its key and what it shows. player: the page of a
    variant's films, by run and variant. moment: where the timeline is. act: what a click in a piece of HTML asks for.
    """

    result: Callable[[str], Path]
    film: Callable[[str, str], Path]
    player: Callable[[str, str], str]
    moment: Callable[[], Mapping[str, object]]
    act: Callable[[str, str], None]


class Front:
    """Serves a door until `stop`. viser: host and port of its server."""

    def __init__(self, door: Door, viser: tuple[str, int], served: Served) -> None:
        self._door, self._viser, self._served = door, viser, served
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self.port = door.port
        self._thread = threading.Thread(target=self._serve, daemon=True, name="studio-front")

    def start(self) -> str:
        """Returns the page's address. Raises MachineError if the port is taken."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise MachineError(
                f"the studio cannot listen on {self._door.host}:{self._door.port} ({self._failure.strerror}); "
                "choose another one with --port"
            )
        return self._door.url(self.port)

    def stop(self) -> None:
        """Closes the door."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=PATIENCE_S)
        try:
            self._loop.run_until_complete(self._open(runner))
        except OSError as error:
            self._failure = error
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()
            self._ready.set()
            return
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _open(self, runner: web.AppRunner) -> None:
        await runner.setup()
        site = web.TCPSite(runner, self._door.host, self._door.port)
        await site.start()
        self.port = int(runner.addresses[0][1])

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/results/{path:.+}", self._file)
        app.router.add_get("/films/{key}/{name}.mp4", self._film)
        app.router.add_get("/player/{run}/{variant}", self._player)
        app.router.add_get("/timeline", self._timeline)
        app.router.add_post("/act/{what}/{value:.+}", self._act)
        app.router.add_get("/{path:.*}", self._pass_on)
        app.on_startup.append(self._connect)
        app.on_cleanup.append(self._disconnect)
        return app

    async def _connect(self, app: web.Application) -> None:
        self._client = ClientSession(auto_decompress=False)

    async def _disconnect(self, app: web.Application) -> None:
        await self._client.close()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], object]
    ) -> web.StreamResponse:
        """Refuses who names another host (a rebound name), comes from another page, or lacks the token."""
        named = urlsplit(f"//{request.host}").hostname or ""
        known = {self._door.host, "localhost"} if is_loopback(self._door.host) else None
        if known is not None and named not in known:
            return web.Response(status=403, text=f"this studio is not {named}")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return web.Response(status=403, text="this studio takes requests of its own page only")
        token = self._door.token
        if token is not None:
            asked = request.query.get("token")
            if asked is not None and hmac.compare_digest(asked.encode(), token.encode()):
                answer = web.Response(status=302, headers={"Location": "/"})
                answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
                return answer
            if not hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), token.encode()):
                return web.Response(
                    status=401, text="open the address that i2v3d studio printed, with its token"
                )
        response: web.StreamResponse = await handler(request)  # type: ignore[misc]
        if not response.prepared:
            response.headers.update(FRAME)
        return response

    async def _file(self, request: web.Request) -> web.StreamResponse:
        try:
            file = self._served.result(request.match_info["path"])
        except InputError as error:
            return web.Response(status=404, text=str(error))
        response = web.FileResponse(file)
        response.headers["Cache-Control"] = "no-cache"
        if file.suffix == ".html":
            response.headers["Content-Security-Policy"] = STRICT_PAGES
        return response

    async def _film(self, request: web.Request) -> web.StreamResponse:
        try:
            return web.FileResponse(self._served.film(request.match_info["key"], request.match_info["name"]))
        except InputError as error:
            return web.Response(status=404, text=str(error))

    async def _player(self, request: web.Request) -> web.StreamResponse:
        run, variant = request.match_info["run"], request.match_info["variant"]
        try:
            page = await asyncio.to_thread(self._served.player, run, variant)
        except (InputError, ConfigError, ArtifactError) as error:
            return web.Response(status=404, text=str(error))
        headers = {"Content-Security-Policy": OWN_PAGES, "Cache-Control": "no-cache"}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def _timeline(self, request: web.Request) -> web.StreamResponse:
        """Tells the films where the timeline is, whenever it is elsewhere."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **FRAME})
        await response.prepare(request)
        told: object = None
        while request.transport is not None and not request.transport.is_closing():
            now = self._served.moment()
            if now != told:
                told = now
                await response.write(f"data: {json.dumps(now)}\n\n".encode())
            await asyncio.sleep(TICK_S)
        return response

    async def _act(self, request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.to_thread(self._served.act, request.match_info["what"], request.match_info["value"])
        except (InputError, ConfigError) as error:
            return web.Response(status=404, text=str(error))
        return web.Response(status=204)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        host, port = self._viser
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._bridge(request, f"ws://{host}:{port}{request.rel_url}")
        wanted = {k: v for k, v in request.headers.items() if k.lower() in ("accept", "accept-encoding")}
        async with self._client.get(f"http://{host}:{port}{request.rel_url}", headers=wanted) as found:
            headers = {k: v for k, v in found.headers.items() if k.lower() in PASSED}
            return web.Response(status=found.status, headers=headers, body=await found.read())

    async def _bridge(self, request: web.Request, url: str) -> web.WebSocketResponse:
        """Carries messages of one browser to viser and back until either leaves."""
        asked = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
        browser = web.WebSocketResponse(protocols=asked, max_msg_size=LARGEST_MESSAGE, compress=False)
        await browser.prepare(request)
        async with self._client.ws_connect(url, protocols=asked, max_msg_size=0, compress=0) as viser:

            async def carry(source: object, target: object) -> None:
                async for message in source:  # type: ignore[attr-defined]
                    if message.type == WSMsgType.BINARY:
                        await target.send_bytes(message.data)  # type: ignore[attr-defined]
                    elif message.type == WSMsgType.TEXT:
                        await target.send_str(message.data)  # type: ignore[attr-defined]

            tasks = [asyncio.create_task(carry(browser, viser)), asyncio.create_task(carry(viser, browser))]
            _, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
        await browser.close()
        return browser
