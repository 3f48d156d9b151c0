"""Scene files and masks under damage: a scene that is planned, or one line, and nothing else.

`make test-fuzz` tries more examples than a run of all tests does.
"""

from __future__ import annotations

import copy
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from i2v3d.config.scene import SceneConfig
from i2v3d.config.sections import build, plain
from i2v3d.errors import ConfigError, I2V3DError
from i2v3d.scene.photo.framing import load_mask
from i2v3d.stages.scene import check_scene
from i2v3d.workflow.composition import Composer
from i2v3d.workflow.confinement import check_confined
from i2v3d.workflow.selection import validate_sections
from tests.faults.test_foreign_scenes import HOSTILE
from tests.support.damage import EXAMPLES, damaged, fuzzed, one_line_at_most

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
PHOTO_SCENES = ("astronaut", "coffee", "coffee_figure", "photo")
SECRET = "hunter2"
OTHERS = ("run", "seed", "untrusted_scene", "runtime", "tracking", "models", "perception")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SECRET", SECRET)


# ---------------------------------------------------------------- values of a scene
def _scene() -> dict[str, Any]:
    """One with as many kinds of keys as a scene can have."""
    words = [
        "scene=coffee_figure",
        "scene.camera.handheld={position_m: 0.004, rotation_deg: 0.3, frequency_hz: 1.2, seed: 0}",
        "scene.shape_keys=[{object: figure, shape_key: smile, frame: 5, value: 1.0, interpolation: BEZIER}]",
        "scene.camera.keys=[{frame: 9, position_m: [0.1, 0, 0.6], look_at_m: [0, 0.4, 0], rotation_deg: null, "
        "fov_deg: null, interpolation: BEZIER}]",
    ]
    config = Composer(CONF, None).variant("base", words).config
    return dict(config["scene"])


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in plain data, outer places first."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in below:
        yield (*above, key)
        yield from _places(entry, (*above, key))


ODD = ("nan", ".", "..", "/", "${", "scenes/coffee", "a/b", "foreground", "BEZIER", 1e300, -1e-300, 10**30)
_plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(ODD)
_values = st.recursive(
    _plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def test_a_key_of_a_line_break_stays_on_its_line() -> None:
    with pytest.raises(ConfigError) as refused:
        build(SceneConfig, {**_scene(), "\n\x1b": 1}, "scene")
    told = str(refused.value)
    assert told.isprintable() and told.startswith(r"scene.'\n\x1b' is not an option; known: ")


def test_any_values_in_a_scene() -> None:
    scene = _scene()
    places = list(_places(scene))
    changes = st.tuples(st.sampled_from(places), st.sampled_from(("set", "drop", "repeat", "add")), _values)

    @fuzzed
    @given(st.lists(changes, min_size=1, max_size=3))
    def trial(made: list[tuple[tuple[Any, ...], str, Any]]) -> None:
        data = copy.deepcopy(scene)
        for place, how, value in made:
            _change(data, place, how, value)
        with one_line_at_most(I2V3DError):
            check_confined(data)
        with one_line_at_most(I2V3DError):
            section = build(SceneConfig, data, "scene")
            assert build(SceneConfig, plain(section), "scene") == section
            check_scene(section)

    trial()


def _change(data: Any, place: tuple[Any, ...], how: str, value: Any) -> None:
    """Changes what stands at a place, if an earlier change has left one."""
    for part in place[:-1]:
        there = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if not (there or (isinstance(data, dict) and part in data)):
            return
        data = data[part]
    last = place[-1]
    if isinstance(data, list) and isinstance(last, int) and last < len(data):
        if how == "set":
            data[last] = value
        elif how == "drop":
            del data[last]
        else:
            data.insert(last, copy.deepcopy(data[last]) if how == "repeat" else value)
    elif isinstance(data, dict) and last in data:
        if how == "drop":
            del data[last]
        else:
            data[str(value)[:5] if how == "add" else last] = value


# ---------------------------------------------------------------- the text of a scene's file
def _texts() -> tuple[bytes, ...]:
    """Shipped scenes without their comments, and hostile ones."""
    names = (*PHOTO_SCENES, "toy", "blend")
    shipped = (yaml.safe_load((CONF / "scene" / f"{name}.yaml").read_text()) for name in names)
    texts = [yaml.safe_dump(data, allow_unicode=True, sort_keys=False) for data in shipped]
    return tuple(text.encode() for text in (*texts, *(text for text, _ in HOSTILE.values())))


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configuration, to which a damaged scene is added."""
    return Path(shutil.copytree(CONF, tmp_path_factory.mktemp("conf") / "conf"))


def test_damaged_scene_files(conf: Path) -> None:
    """Under distrust a scene changes no other section, and learns nothing, whatever stands in its file."""
    base = Composer(conf, None).variant("base", ["scene=coffee", "untrusted_scene=true"]).config

    @settings(fuzzed, max_examples=max(6, EXAMPLES // 10))
    @given(damaged(_texts()), st.booleans())
    def trial(content: bytes, trusted: bool) -> None:
        (conf / "scene" / "theirs.yaml").write_bytes(content)
        words = ["scene=theirs", f"untrusted_scene={str(not trusted).lower()}"]
        with one_line_at_most(I2V3DError):
            config = Composer(conf, None).variant("base", words).config
            if not trusted:
                assert {name: config[name] for name in OTHERS} == {name: base[name] for name in OTHERS}
                assert SECRET not in json.dumps(config)
            validate_sections(config)

    trial()


# ---------------------------------------------------------------- masks
def _saved(picture: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format=kind)
    return stream.getvalue()


def _masks() -> tuple[bytes, ...]:
    disc = np.hypot(*np.mgrid[-24:24, -32:32]) < 15
    grey = Image.fromarray(disc.astype(np.uint8) * 255)
    clear = Image.merge("LA", (Image.new("L", grey.size, 0), grey))
    kinds = [
        (grey, "PNG"),
        (grey, "JPEG"),
        (grey.convert("1"), "PNG"),
        (grey.convert("P"), "GIF"),
        (clear, "PNG"),
    ]
    kinds += [(grey.convert("RGBA"), "WEBP"), (Image.fromarray(disc.astype(np.uint16) * 65535), "PNG")]
    kinds += [(Image.fromarray(disc.astype(np.float32)), "TIFF")]
    return tuple(_saved(picture, kind) for picture, kind in kinds)


@fuzzed
@given(damaged(_masks()))
@pytest.mark.filterwarnings("ignore")  # of Pillow, about damage
def test_damaged_masks(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.png"
        path.write_bytes(content)
        with one_line_at_most():
            mask = load_mask(path, 64, 48)
            assert mask.shape == (48, 64) and mask.dtype == bool


@fuzzed
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_mask_is_the_same_in_every_depth_of_its_file(grey: np.ndarray) -> None:
    height, width = grey.shape
    pictures = {
        "grey": (Image.fromarray(grey), "PNG"),
        "colour": (Image.fromarray(grey).convert("RGB"), "PNG"),
        "16 bits": (Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "8 of 16 bits": (Image.fromarray(grey.astype(np.uint16)), "TIFF"),
        "floats": (Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        "opacity": (Image.merge("LA", (Image.new("L", (width, height)), Image.fromarray(grey))), "PNG"),
    }
    wholly_opaque = bool((grey == 255).all())
    with tempfile.TemporaryDirectory() as folder:
        for name, (picture, kind) in pictures.items():
            path = Path(folder) / "mask"
            picture.save(path, format=kind)
            found = load_mask(path, width, height)
            if name != "opacity" or not wholly_opaque:
                assert np.array_equal(found, grey >= 128), name


def test_numbers_of_unknown_range_are_no_mask(tmp_path: Path) -> None:
    for low, high in ((-1.0, 1.0), (0.0, 1e6), (np.nan, 1.0)):
        Image.fromarray(np.array([[low, high]], np.float32)).save(tmp_path / "mask.tiff")
        with pytest.raises(I2V3DError, match=r"has numbers from .* save it as 8-bit grey"):
            load_mask(tmp_path / "mask.tiff", 2, 1)
