"""`i2v3d fetch`: the published weights that a configuration needs."""

from __future__ import annotations

import sys
from pathlib import Path

from i2v3d.commands.parsers import Group, Options, add_hydra_words
from i2v3d.workflow.workplace import project_folder, set_up


def add_parser(group: Group) -> None:
    """Hydra words in, weights in the local model cache."""
    parser = group.add(
        "fetch",
        run,
        what="bring the published weights that a configuration needs, or check them",
        more="The only command that downloads. Fetches exactly the files that are read, after their size and licence "
        "are told and the disk is checked, and compares them with the repository's hashes. After an interruption the "
        "same command goes on. HF_ENDPOINT names a mirror, HF_HOME where the cache lies, HF_TOKEN who asks.",
        examples=(
            "i2v3d fetch models=sdxl_svd",
            "i2v3d fetch models=sdxl_svd scene=mug --judges",
            "i2v3d fetch models=sdxl_svd --check",
            "i2v3d fetch models=sdxl_svd --from weights_of_another_machine",
        ),
    )
    add_hydra_words(parser)
    parser.add_argument(
        "--check", action="store_true", help="fetch nothing; check what is here, hashes included"
    )
    parser.add_argument(
        "--judges", action="store_true", help="the networks that score videos of photos as well"
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FOLDER",
        help="copy from a folder: another machine's model cache, or OWNER/NAME below it",
    )


def run(options: Options) -> int:
    """Tells a line for each of the weights; returns 0 if all can be used."""
    from i2v3d.workflow.fetching import check, chosen_weights, fetch

    needs, manifest = chosen_weights(set_up(project_folder(), Path()), options.words, options.judges)
    if options.check:
        check(needs, manifest, _tell, hashes=True)
    else:
        fetch(needs, manifest, options.source, _tell)
    return 0


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
