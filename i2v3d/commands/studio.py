"""`i2v3d studio`: drag the camera, see the shot, press generate."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from i2v3d.commands.parsers import Group, Options, add_hydra_words
from i2v3d.errors import ConfigError, MachineError

if TYPE_CHECKING:
    from i2v3d.studio.page import Studio

log = logging.getLogger(__name__)
NEEDED = ("viser", "aiohttp", "fast_simplification")
FIRST_SCENE = "coffee"


def add_parser(group: Group) -> None:
    """A scene in, a page out."""
    parser = group.add(
        "studio",
        run,
        what="a local web page: see the scene in 3D, key camera and objects, preview and generate",
        more="Every edit is written to conf/scene/NAME.yaml, and every run is a command that could be typed. Other "
        "machines reach the page only with --host and --token. Needs pip install 'i2v3d[studio]', or make studio.",
        examples=("i2v3d studio scene=coffee", "i2v3d studio scene=mug experiment=quick --port 9000"),
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; beyond loopback with --token only"
    )
    parser.add_argument("--port", type=int, default=8700, help="0 takes a free one; default: 8700")
    parser.add_argument("--token", help="what browsers must show, at least 16 characters")
    add_hydra_words(parser)


def run(options: Options) -> int:
    """Serves the page until Ctrl-C."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MachineError(
            f"the studio needs {', '.join(missing)}; install it with pip install 'i2v3d[studio]'"
        )
    from i2v3d.studio.front import Door

    door = Door.checked(options.host, options.port, options.token)
    studio, scene = opened(options.words)
    try:
        studio.open(scene)
        log.info("the studio is at %s (Ctrl-C ends it)", studio.serve(door))
        studio.wait()
    finally:
        studio.close()
    return 0


def opened(words: Sequence[str]) -> tuple[Studio, str]:
    """The studio of the present folder, and which scene the words choose. Raises ConfigError for wrong words."""
    from i2v3d.commands.new_scene import Wanted, new_scene
    from i2v3d.studio.page import Studio
    from i2v3d.studio.place import Place
    from i2v3d.studio.run_tab import check_words

    chosen = [word.partition("=")[2] for word in words if word.startswith("scene=")]
    others = [word for word in words if not word.startswith("scene=")]
    if len(chosen) > 1:
        raise ConfigError(f"scene= stands {len(chosen)} times; choose one scene")
    check_words(others)

    def new(name: str, photo: Path, class_name: str | None) -> None:
        wanted = Wanted(name, photo, None, None, class_name, None)
        log.info("%s", new_scene(wanted, Path(), lambda: Place.of(Path.cwd()).conf))

    return Studio(Place.of(Path.cwd()), others, new), chosen[0] if chosen else FIRST_SCENE
