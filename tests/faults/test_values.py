"""Values that cannot be meant: refused before any work, with the option, what it holds and what was expected."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt

from i2v3d.benchmark.settings import BenchmarkSettings
from i2v3d.config.models import ModelsConfig
from i2v3d.config.runtime import RuntimeConfig, TrackingConfig
from i2v3d.config.scene import PerceptionConfig, SceneConfig
from i2v3d.stages.registry import STAGES
from i2v3d.workflow.composition import Composer
from tests.faults.support import CONF, ROOT, plan_words, refused


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(CONF, None)


WRONG = (
    ("keyframes.guidance=1e30", "keyframes.guidance is 1e+30; input should be less than or equal to 100"),
    ("keyframes.guidance=inf", "keyframes.guidance is"),
    ("keyframes.guidance=nan", "keyframes.guidance is"),
    ("keyframes.guidance=-1", "keyframes.guidance is -1; input should be greater than 0"),
    ("keyframes.guidance=high", 'keyframes.guidance is "high"; input should be a valid number'),
    ("keyframes.guidance=true", "keyframes.guidance is true; input should be a valid number"),
    ("keyframes.guidance=null", "keyframes.guidance is null"),
    ("keyframes.guidance=[5]", "keyframes.guidance is [5]"),
    ("keyframes.steps=10000000000", "keyframes.steps is 10000000000; input should be less than or equal to 1000"),
    ("keyframes.steps=0", "keyframes.steps is 0; input should be greater than or equal to 1"),
    ("keyframes.steps=2.5", "keyframes.steps is 2.5; input should be a valid integer"),
    ("keyframes.steps='5'", 'keyframes.steps is "5"; input should be a valid integer'),
    ("keyframes.control_scale=1e9", "keyframes.control_scale is 1000000000.0"),
    ("keyframes.first=drawn", "keyframes.first is \"drawn\"; input should be 'generated' or 'photo'"),
    ("keyframes.tau_conv=1.1", "keyframes.tau_conv is 1.1; input should be less than or equal to 1"),
    ("keyframes=5", "keyframes"),
    ("keyframes.stepz=5", "keyframes.stepz is not an option; did you mean 'steps'?"),
    ("lora.learning_rate=1e30", "lora.learning_rate is 1e+30; input should be less than or equal to 1"),
    ("lora.rank=1000000", "lora.rank is 1000000; input should be less than or equal to 4096"),
    ("lora.steps=1000000000", "lora.steps is 1000000000; input should be less than or equal to 1000000"),
    ("lora.target_modules=[]", "lora.target_modules is []; tuple should have at least 1 item"),
    ("lora.weights=nowhere.safetensors", "lora.weights names nowhere.safetensors, which does not exist"),
    ("interpolate.steps=1001", "interpolate.steps is 1001"),
    ("interpolate.motion_bucket=5000", "interpolate.motion_bucket is 5000; input should be less than or equal to 1023"),
    ("interpolate.noise_aug=-0.1", "interpolate.noise_aug is -0.1"),
    ("interpolate.fps=0", "interpolate.fps is 0"),
    ("interpolate.segment_frames=1", "interpolate.segment_frames is 1; a segment has at least 2 frames"),
    ("interpolate.fusion.method=stir", "interpolate.fusion.method is \"stir\"; input should be 'blend'"),
    ("interpolate.conditioning=photo", "set interpolate.direction=forward"),
    ("scene.frames=16", "scene.frames is 16, which does not fit segments of 8 frames"),
    ("scene.frames=1000000", "scene.frames is 1000000; input should be less than or equal to 9999"),
    ("scene.width=15", "scene.width is 15; input should be greater than or equal to 16"),
    ("scene.width=1000000", "scene.width is 1000000; input should be less than or equal to 8192"),
    ("scene.fps=100000", "scene.fps is 100000"),
    ("scene.name=a/b", 'scene.name is "a/b"; string should match pattern'),
    ("scene.photo=none.jpg", "scene.photo names none.jpg, which does not exist; correct the path"),
    ("scene.photo=5", "scene.photo is 5; input should be a valid string"),
    ("scene.camera.fov_deg=180", "scene.camera.fov_deg is 180; input should be less than 170"),
    ("scene.camera.moves=[{kind: spin}]", "scene.camera.moves.0.kind is \"spin\""),
    ("scene.camera.moves=[{kind: pan}]", "scene.camera.moves.0.amount is missing; add it to the configuration"),
    ("scene.pivot_m=[1e300,0,0]", "scene.pivot_m.0 is 1e+300"),
    ("scene.segment.box=[0,0,2,1]", "scene.segment.box.2 is 2"),
    ("scene.source=[photo]", "scene.source is ['photo']; "),
    ("scene.source=null", "scene.source is None; known: blend, photo, toy"),
    ("scene.source=film", "scene.source is 'film'; known: blend, photo, toy"),
    ("render.samples=0", "render.samples is 0"),
    ("render.plane_depth=1e9", "render.plane_depth is 1000000000.0"),
    ("views.azimuths_deg=[]", "views.azimuths_deg is []"),
    ("views.azimuths_deg=[1e9]", "views.azimuths_deg.0 is 1000000000.0"),
    ("assemble.crf=52", "assemble.crf is 52; input should be less than or equal to 51"),
    ("assemble.frames=imagined", "assemble.frames is \"imagined\""),
    ("evaluate.far_m=0", "evaluate.far_m is 0"),
    ("models.image.dtype=int8", "models.image.dtype is \"int8\""),
    ("models.image.layers.conv=[]", "models.image.layers.conv is []"),
    ("runtime.device=tpu", "runtime.device is \"tpu\"; string should match pattern"),
    ("runtime.device=cuda:x", "runtime.device is \"cuda:x\""),
    ("runtime.threads=-1", "runtime.threads is -1"),
    ("tracking.mode=loud", "tracking.mode is \"loud\"; input should be 'offline', 'online' or 'disabled'"),
    ("seed=1.5", "seed is 1.5; expected a whole number"),
    ("seed=-1", ".seed is -1; input should be greater than or equal to 0"),
    ("untrusted_scene=perhaps", "untrusted_scene"),
    ("~seed", "seed"),
    ("~run", "run is missing; add it to the configuration"),
    ("~tracking", "tracking is missing; add it to the configuration"),
    ("run=a/b", "run is 'a/b'; expected a file name of letters, digits and . _ , = + -"),
    ("run=.cache", "run is '.cache'; expected a file name"),
    ("run=..", "run is '..'; expected a file name"),
    ("run='a b'", "run is 'a b'; expected a file name"),
    ('run="x;touch PWNED;echo"', "run is 'x;touch PWNED;echo'; expected a file name"),
    ("run=''", "run is ''; expected a file name"),
    ("run=null", "run is None; expected a file name"),
    ("run=" + "x" * 300, "run has 300 bytes"),
    ("scene.prompt=${oc.env:NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE"),
    ("scene.prompt=${nowhere}", "nowhere"),
    ("scene.prompt=(", "("),
    ("scene.prompt=Käse", "'scene.prompt=Käse' holds letters that are read in quotes only; write the value as"),
    ("run=東", "write the value as \"run='VALUE'\""),
    ("scene=", "scene= does not exist; known: "),
    ("=5", "=5"),
    ("+keyframes.more=5", "keyframes.more is not an option"),
    ("scene=../config", "scene="),
)  # fmt: skip


@pytest.mark.parametrize(("word", "told"), WRONG, ids=[word[:40] for word, _ in WRONG])
def test_a_wrong_value_is_one_line(
    word: str, told: str, composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert told in refused(plan_words, composer, ["scene=coffee", word])


def sections(cls: type) -> Iterator[type]:
    """A section, and those in its fields."""
    yield cls
    for sub in cls.__subclasses__():
        yield from sections(sub)
    for hint in get_type_hints(cls).values():
        for part in _parts(hint):
            if dataclasses.is_dataclass(part):
                yield from sections(part)


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for argument in get_args(hint):
        yield from _parts(argument)


def _unbounded(hint: Any, bounds: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Every plain number of an annotation that lacks a lower or an upper bound."""
    if get_origin(hint) is Annotated:
        own = [m for field in hint.__metadata__ for m in getattr(field, "metadata", [field])]
        yield from _unbounded(get_args(hint)[0], tuple(own))
    elif hint in (int, float):
        low, high = any(isinstance(b, Ge | Gt) for b in bounds), any(isinstance(b, Le | Lt) for b in bounds)
        if not (low and high):
            yield hint
    else:
        for argument in get_args(hint):
            yield from _unbounded(argument)


def test_every_number_of_the_configuration_has_bounds() -> None:
    roots = [ModelsConfig, PerceptionConfig, RuntimeConfig, TrackingConfig, SceneConfig, BenchmarkSettings]
    roots += [own for stage in STAGES.values() for _, own in stage.sources.values() if own is not None]
    found = [
        f"{cls.__name__}.{name}"
        for root in roots
        for cls in sections(root)
        for name, hint in get_type_hints(cls, include_extras=True).items()
        if list(_unbounded(hint))
    ]
    assert not found
    assert list(_unbounded(float)) and list(_unbounded(tuple[Annotated[int, Ge(1)], ...])), "the test sees"
