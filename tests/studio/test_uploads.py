"""What the page takes of a browser: photos only, none that fills the memory, under no name of the browser's."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("viser", reason="the studio needs it: pip install 'i2v3d[studio]'")

from i2v3d.errors import InputError
from i2v3d.studio import scene_tab
from i2v3d.studio.scene_tab import checked_upload


def _png(size: tuple[int, int] = (8, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size).save(out, "PNG")
    return out.getvalue()


def test_a_photo_gets_a_name_of_its_own(tmp_path: Path) -> None:
    for name in ("cat.png", "../../cat.PNG", "/etc/cat.png", "a\\..\\cat.png"):
        path = checked_upload(name, _png(), tmp_path)
        assert path == tmp_path / "photo.png" and path.read_bytes() == _png()
    assert sorted(tmp_path.iterdir()) == [tmp_path / "photo.png"]


@pytest.mark.parametrize("name", ["cat", "cat.svg", "cat.py", "cat.png.sh", ".png"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no photo"):
        checked_upload(name, _png(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_no_picture_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        checked_upload("cat.png", b"GIF89a no picture", tmp_path)
    monkeypatch.setattr(scene_tab, "MOST_PX", 40)
    with pytest.raises(InputError, match="8 x 6 pixels"):
        checked_upload("cat.png", _png(), tmp_path)
    monkeypatch.setattr(scene_tab, "LARGEST_UPLOAD", 10)
    with pytest.raises(InputError, match="at most"):
        checked_upload("cat.png", _png(), tmp_path)
