"""`i2v3d new`: a scene for a photo of one's own."""

from __future__ import annotations

import sys
from pathlib import Path

from i2v3d.commands.parsers import Group, Options, pixels


def add_parser(group: Group) -> None:
    """A photo in, a scene's YAML out."""
    parser = group.add(
        "new",
        run,
        what="makes a scene of a photo of your own",
        more="Writes conf/scene/NAME.yaml, in which every control is shown and explained, and scenes/NAME/ with the "
        "photo, turned upright, and its mask. Then look at the coarse animation: i2v3d preview scene=NAME.",
        examples=(
            "i2v3d new mug --image mug.jpg --class-name mug",
            "i2v3d new mug --image mug.jpg --mask mask.png --size 1024x576",
        ),
    )
    parser.add_argument(
        "name", metavar="NAME", help="small letters, digits, _ and -; what scene=NAME will choose"
    )
    parser.add_argument(
        "--image", type=Path, required=True, help="the photo: PNG, JPEG or WebP, 64 pixels or more a side"
    )
    parser.add_argument(
        "--mask",
        type=Path,
        help="foreground white on black, of the photo's size; else its transparency, else found",
    )
    parser.add_argument("--prompt", help="what the models are told; default: 'a sks CLASS'")
    parser.add_argument("--class-name", help="what the foreground is, in a word, such as cup")
    parser.add_argument(
        "--size",
        metavar="WxH",
        type=pixels,
        help="pixels, multiples of what the models need; default: what they take, nearest to the photo's aspect",
    )


def run(options: Options) -> int:
    """Writes the scene into the current folder, as runs see it, and says what to do next."""
    from i2v3d.commands.new_scene import Wanted, new_scene
    from i2v3d.workflow.workplace import project_folder, set_up

    wanted = Wanted(
        options.name, options.image, options.mask, options.prompt, options.class_name, options.size
    )
    sys.stdout.write(new_scene(wanted, Path(), lambda: set_up(project_folder(), Path.cwd())))
    return 0
