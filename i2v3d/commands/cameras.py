"""`i2v3d cameras`: cameras of a render to or from other programs' files."""

from __future__ import annotations

import sys
from pathlib import Path

from i2v3d.commands.parsers import Group, Options, pixels
from i2v3d.errors import ArtifactError, InputError

RENDERED = "rendered"  # our own cameras.json
WRITTEN = ("nerfstudio", "colmap", "look_at")
READ = (*WRITTEN, "realestate10k", "dust3r")


def add_parser(group: Group) -> None:
    """A file in, a file out."""
    parser = group.add(
        "cameras",
        run,
        what="cameras of a render to or from other programs' files",
        examples=(
            "i2v3d cameras results/mug/base/stages/render/cameras.json transforms.json --to nerfstudio",
            "i2v3d cameras sparse/0 path.json --from colmap --to look_at",
        ),
    )
    parser.add_argument("source", type=Path, help="cameras.json of a render, or a file (folder) of --from")
    parser.add_argument("out", type=Path, help="file to write; a folder for colmap")
    parser.add_argument("--from", dest="given", default=RENDERED, choices=(RENDERED, *READ))
    parser.add_argument("--to", dest="wanted", required=True, choices=WRITTEN)
    parser.add_argument(
        "--size",
        metavar="WxH",
        type=pixels,
        default="1024x576",
        help="pixels of the pictures, for formats that do not state them (default: 1024x576)",
    )


def run(options: Options) -> int:
    """Reads the one format and writes the other. Raises InputError for what is not that format."""
    from i2v3d.artifacts.rendered_cameras import RenderedCameras
    from i2v3d.scene.motion.camera_files import read_track, write_track

    if options.given == RENDERED:
        try:
            track = RenderedCameras.load(options.source).track(options.source)
        except ArtifactError as error:  # which would have the user make the folder anew
            what = "is not the cameras of a finished render" if options.source.exists() else "is not there"
            raise InputError(
                f"{options.source} {what}; name "
                f"results/RUN/VARIANT/stages/render/cameras.json, or what it is with --from {', '.join(READ)}"
            ) from error
    else:
        track = read_track(options.source, options.given, options.size)
    write_track(options.out, options.wanted, track)
    sys.stdout.write(f"{options.out}: {track.frames} cameras of {track.width}x{track.height}\n")
    return 0
