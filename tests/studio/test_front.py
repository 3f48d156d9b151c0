"""The door of the studio: who gets in, which files it hands out, and what passes through to viser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="the studio needs it: pip install 'i2v3d[studio]'")

import asyncio  # noqa: E402

from aiohttp import web  # noqa: E402

from i2v3d.commands.tree import parse  # noqa: E402
from i2v3d.errors import ConfigError, InputError, MachineError  # noqa: E402
from i2v3d.studio.films import pass_film, player  # noqa: E402
from i2v3d.studio.front import Door, Front, Served, hidden_address, is_loopback  # noqa: E402
from i2v3d.studio.place import Place  # noqa: E402

TOKEN = "a-token-of-this-test-only"


class _Inside:
    """A server in the place of viser, which answers in its own way and echoes messages."""

    async def page(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(text=f"inside {request.path}")
        socket = web.WebSocketResponse(protocols=("viser-v1",))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data[::-1])
        return socket


MOMENTS = [{"index": 3, "playing": False, "fps": 8}]
ASKED: list[tuple[str, str]] = []


def _act(what: str, value: str) -> None:
    if what != "frame":
        raise InputError(f"{what} cannot be asked for here")
    ASKED.append((what, value))


def _served(place: Place) -> Served:
    return Served(
        result=place.result,
        film=lambda key, name: pass_film(place, key, name),
        player=lambda run, variant: player(place, run, variant),
        moment=lambda: MOMENTS[-1],
        act=_act,
    )


async def _with_front(place: Place, door: Door, act) -> None:  # type: ignore[no-untyped-def]
    inside = _Inside()
    app = web.Application()
    app.router.add_get("/{path:.*}", inside.page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    front = Front(door, ("127.0.0.1", runner.addresses[0][1]), _served(place))
    try:
        await asyncio.to_thread(front.start)
        async with aiohttp.ClientSession() as client:
            await act(client, f"http://127.0.0.1:{front.port}")
    finally:
        await asyncio.to_thread(front.stop)
        await runner.cleanup()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "results" / "run" / "base"
    folder.mkdir(parents=True)
    (folder / "video.mp4").write_bytes(b"film")
    (folder / "notes.txt").write_text("no")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    cache = tmp_path / "results" / ".cache" / "assemble"
    cache.mkdir(parents=True)
    (cache / "sheet.png").write_bytes(b"sheet")
    (folder / "sheet.png").symlink_to(cache / "sheet.png")
    yield Place(tmp_path, tmp_path / "conf")


def test_results_are_served_and_nothing_else(place: Place) -> None:
    assert place.result("run/base/video.mp4").read_bytes() == b"film"
    assert place.result("run/base/sheet.png").read_bytes() == b"sheet"
    for path in ("../secret.png", "run/base/out.png", "run/base/notes.txt", ".cache/assemble/sheet.png", "",
                 "/etc/x.png",
                 "run/../../secret.png", "run/base", "run\\..\\secret.png"):  # fmt: skip
        with pytest.raises(InputError):
            place.result(path)


def test_pages_pass_to_viser_and_back(place: Place) -> None:
    async def act(client: aiohttp.ClientSession, url: str) -> None:
        async with client.get(f"{url}/index.html") as found:
            assert (found.status, await found.text()) == (200, "inside /index.html")
            assert found.headers["X-Content-Type-Options"] == "nosniff"
        async with client.get(f"{url}/results/run/base/video.mp4") as found:
            assert (found.status, await found.read()) == (200, b"film")
        async with client.get(f"{url}/results/run/base/notes.txt") as found:
            assert found.status == 404
        async with client.ws_connect(url, protocols=("viser-v1",)) as socket:
            assert socket.protocol == "viser-v1"
            await socket.send_bytes(b"abc")
            assert (await socket.receive()).data == b"cba"

    asyncio.run(_with_front(place, Door.checked("127.0.0.1", 0, None), act))


def test_other_sites_and_rebound_names_are_refused(place: Place) -> None:
    async def act(client: aiohttp.ClientSession, url: str) -> None:
        async with client.get(url, headers={"Host": "evil.example"}) as found:
            assert found.status == 403
        async with client.get(url, headers={"Origin": "http://evil.example"}) as found:
            assert found.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect(url, headers={"Origin": "http://evil.example"})
        async with client.get(url, headers={"Origin": url}) as found:
            assert found.status == 200

    asyncio.run(_with_front(place, Door.checked("127.0.0.1", 0, None), act))


def test_films_follow_the_timeline_and_clicks_of_the_page_are_done(place: Place) -> None:
    async def act(client: aiohttp.ClientSession, url: str) -> None:
        async with client.get(f"{url}/timeline") as told:
            assert told.headers["Content-Type"] == "text/event-stream"
            assert await told.content.readline() == b'data: {"index": 3, "playing": false, "fps": 8}\n'
            MOMENTS.append({"index": 4, "playing": True, "fps": 8})
            await told.content.readline()
            assert b'"index": 4' in await told.content.readline()
        async with client.post(f"{url}/act/frame/5") as done:
            assert done.status == 204 and ASKED == [("frame", "5")]
        for path in ("/act/frame", "/act/quit/1", "/player/run/other", "/player/%2e%2e/base", "/films/../depth.mp4",
                     "/films/0123456789ab/depth.mp4", "/films/%2e%2e%2frun/notes.mp4"):  # fmt: skip
            async with client.request("POST" if "act" in path else "GET", url + path) as found:
                assert found.status in (404, 405) or "inside" in await found.text(), path
        async with client.post(f"{url}/act/frame/6", headers={"Origin": "http://evil.example"}) as found:
            assert found.status == 403
        async with client.post(f"{url}/act/frame/6", headers={"Origin": "null"}) as found:
            assert found.status == 403  # a page of results, which is not trusted
        assert ASKED == [("frame", "5")]

    asyncio.run(_with_front(place, Door.checked("127.0.0.1", 0, None), act))


def test_a_token_is_asked_for(place: Place) -> None:
    async def act(client: aiohttp.ClientSession, url: str) -> None:
        for path in ("/", "/results/run/base/video.mp4", "/?token=wrong", "/?token=%ff", "/timeline",
                     "/player/run/base"):  # fmt: skip
            async with client.get(url + path) as found:
                assert found.status == 401
        async with client.post(f"{url}/act/frame/7") as found:
            assert found.status == 401
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect(url)
        client.cookie_jar._unsafe = True  # addresses as hosts
        async with client.get(f"{url}/?token={TOKEN}", allow_redirects=False) as found:
            assert found.status == 302 and "HttpOnly" in found.headers["Set-Cookie"]
            cookie = {"Cookie": found.headers["Set-Cookie"].split(";")[0]}
        async with client.get(url, headers=cookie) as found:
            assert found.status == 200

    asyncio.run(_with_front(place, Door.checked("0.0.0.0", 0, TOKEN), act))


def test_beyond_loopback_only_with_a_token() -> None:
    options = parse(["studio"])
    assert is_loopback(Door.checked(options.host, options.port, options.token).host)
    for host in ("127.0.0.1", "localhost", "::1", hidden_address()):
        assert is_loopback(host) and Door.checked(host, 0, None).token is None
    for host in ("0.0.0.0", "192.168.1.5", "example.org", "::"):
        with pytest.raises(ConfigError, match="--token"):
            Door.checked(host, 0, None)
    with pytest.raises(ConfigError, match="16 characters"):
        Door.checked("0.0.0.0", 0, "short")


def test_a_taken_port_is_told(place: Place) -> None:
    async def act(client: aiohttp.ClientSession, url: str) -> None:
        taken = Front(Door("127.0.0.1", int(url.rsplit(":", 1)[1]), None), ("127.0.0.1", 1), _served(place))
        with pytest.raises(MachineError, match="--port"):
            await asyncio.to_thread(taken.start)

    asyncio.run(_with_front(place, Door.checked("127.0.0.1", 0, None), act))
