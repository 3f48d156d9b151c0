"""Work in the background: nobody waits for it, it is of the latest state, and it never falls behind."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("viser", reason="the studio needs it: pip install 'i2v3d[studio]'")

from i2v3d.errors import ConfigError
from i2v3d.studio.desk import Desk
from i2v3d.studio.errand import Errand, Settling

PATIENCE_S = 10


def test_wishes_that_come_meanwhile_are_one() -> None:
    entered, go_on, done = threading.Event(), threading.Event(), []

    def act() -> None:
        done.append(threading.current_thread().name)
        entered.set()
        assert go_on.wait(PATIENCE_S)

    errand = Errand("test", act)
    errand.wish()
    assert entered.wait(PATIENCE_S)
    for _ in range(50):
        errand.wish()  # returns although the work stands still
    go_on.set()
    end = time.monotonic() + PATIENCE_S
    while len(done) < 2 and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(0.05)
    assert done == ["studio-test"] * 2
    errand.end()
    errand.wish()
    time.sleep(0.05)
    assert len(done) == 2


def test_of_several_acts_the_last_is_done_once_none_comes_any_more() -> None:
    done: list[int] = []
    ended, settling = threading.Event(), Settling(0.2)
    for number in range(5):
        settling.then(lambda number=number: (done.append(number), ended.set()))  # type: ignore[misc]
    assert done == []
    assert ended.wait(PATIENCE_S)
    assert done == [4]


class _Shown(SimpleNamespace):
    """A scene of 100 frames, as far as a desk looks at it."""


def _desk() -> Desk:
    desk = Desk(SimpleNamespace(get_clients=dict), None, None)  # type: ignore[arg-type]
    shown = _Shown(views=range(100), shot=SimpleNamespace(start_frame=1))
    desk.session = SimpleNamespace(shown=shown)  # type: ignore[assignment]
    return desk


def test_a_frame_is_drawn_by_its_followers_only_and_frames_that_are_passed_are_left_out() -> None:
    desk, seen, read, slow = _desk(), [], [], threading.Event()
    desk.listeners.append(lambda: read.append(desk.index))

    def follow() -> None:
        seen.append(desk.index)
        slow.wait(0.05)

    desk.followers.append(follow)
    began = time.monotonic()
    for index in range(100):
        desk.moved(index)
    assert time.monotonic() - began < 1
    end = time.monotonic() + PATIENCE_S
    while seen[-1:] != [99] and time.monotonic() < end:
        time.sleep(0.005)
    assert seen[-1] == 99 and len(seen) < 20
    assert read == []  # what a timeline does not change is not looked at
    desk.moved(1000)
    assert (desk.index, desk.frame) == (99, 100)
    desk.close()


def test_a_draft_is_shown_until_something_is_written_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2v3d.studio.desk.SETTLED_S", 0.0)
    desk, draft = _desk(), _Shown(views=range(100), shot=SimpleNamespace(start_frame=1))

    def refuse() -> None:
        raise ConfigError("no")

    for done in (lambda: desk.changed(), refuse):
        desk.drafted(draft)  # type: ignore[arg-type]
        assert desk.shown is draft
        desk.settled(done)
        end = time.monotonic() + PATIENCE_S
        while desk.shown is draft and time.monotonic() < end:
            time.sleep(0.005)
        assert desk.session is not None and desk.shown is desk.session.shown
    desk.close()
