"""`python -m miniature COMMAND`: trains the miniature family, puts it together and measures it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from i2v3d.commands.parsers import Group, Options, Parser, add_job_options
from i2v3d.commands.stage import add_stage
from i2v3d.errors import I2V3DError
from i2v3d.logs import set_up_logging
from miniature.probes import PROBES

log = logging.getLogger("miniature")
LAST_COUNTS = "folders of trained fp16 weights; of files of one name the last folder's counts"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The chosen command's options, `run` among them, which does it. Raises ConfigError for words without sense.

    Modules with networks are imported by the commands that need them.
    """
    root = Parser(prog="python -m miniature", description=__doc__, allow_abbrev=False)
    tree = root.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    own, jobs = Group("commands", tree, told=True), Group("called by the workflow", tree, told=False)
    _add_training(own)
    assemble = own.add("assemble", _assemble, what="trained parts -> one family")
    assemble.add_argument("--weights", type=Path, nargs="+", required=True, help=LAST_COUNTS)
    assemble.add_argument("--out", type=Path, required=True, help="folder of the family")
    infill = own.add(
        "assemble_infill", _assemble_infill, what="trained infill_vae and infill -> one pipeline"
    )
    infill.add_argument("--weights", type=Path, nargs="+", required=True, help=LAST_COUNTS)
    infill.add_argument("--out", type=Path, required=True, help="folder of the pipeline")
    judge = own.add("judge_infill", _judge_infill, what="the scores of a trained infill, without training")
    judge.add_argument("--config", type=Path, required=True, help="settings of its training, infill.yaml")
    judge.add_argument("--weights", type=Path, nargs="+", required=True, help=LAST_COUNTS)
    judge.add_argument("--steps", type=int, nargs="+", required=True, help="of the sampling, scores for each")
    judge.add_argument("--device", default="cpu", help="of PyTorch (default: cpu)")
    judge.add_argument("--out", type=Path, required=True, help="folder for scores and pictures")
    apart = own.add("take_apart", _take_apart, what="a family -> its trained parts, to go on from")
    apart.add_argument("family", type=Path, help="folder of a family, such as weights/mini")
    apart.add_argument("--out", type=Path, required=True, help="folder for the parts")
    listing = own.add(
        "list_held_out", _list_held_out, what="captions and motions of a world's held-out clips"
    )
    listing.add_argument("--seed", type=int, required=True, help="of the world, as in conf/training")
    listing.add_argument("--variants", type=int, required=True, help="of every shape in that world")
    for stage in PROBES.values():
        add_stage(jobs, stage)
    report = jobs.add("report", _report, what="the pages of what all jobs of a planned report found")
    add_job_options(
        report, "plan", "what the planning wrote about it", "folder that the report's files are put in"
    )
    return root.parse_args(words)


def _add_training(group: Group) -> None:
    add = group.add("train", _train, what="one training, of one part of the family").add_argument
    add("part", help="what is trained: the name of a file of conf/training without _more")
    add("--config", type=Path, required=True, help="its settings, a file of conf/training")
    add("--weights", type=Path, nargs="*", required=True, help=LAST_COUNTS)
    add("--out", type=Path, required=True, help="folder for weights, pictures and metrics")
    add("--device", help="of PyTorch; without it the GPU if there is one")
    add("--stream", type=int, default=0, help="separates the data of runs that continue each other")
    add("--checkpoint", type=Path, help="file of the state; default: PART.checkpoint.safetensors in --out")
    add("--checkpoint-every", type=int, default=1000, help="steps between writing the state; 0: never")
    modes = ("disabled", "offline", "online")
    add("--wandb", choices=modes, default="disabled", help="Weights & Biases")


def _train(options: Options) -> int:
    from miniature.train import train

    train(options)
    return 0


def _assemble(options: Options) -> int:
    from i2v3d.toy.family import write_family
    from miniature.assemble import trained_networks, write_checksums

    write_family(options.out, trained_networks(options.weights))
    write_checksums(options.out)
    return 0


def _assemble_infill(options: Options) -> int:
    from i2v3d.toy.infill_family import write_infill_family
    from miniature.assemble import trained_infill, write_checksums

    write_infill_family(options.out, trained_infill(options.weights))
    write_checksums(options.out)
    return 0


def _judge_infill(options: Options) -> int:
    from miniature.infill import judge

    judge(options.config, options.weights, options.steps, options.device, options.out)
    return 0


def _take_apart(options: Options) -> int:
    from miniature.take_apart import take_apart

    take_apart(options.family, options.out)
    return 0


def _list_held_out(options: Options) -> int:
    from i2v3d.toy.world.clips import describe
    from i2v3d.toy.world.held_out import HELD_OUT_CLIPS, list_path, write_list

    clips = tuple(describe(options.seed, options.variants, index) for index in range(HELD_OUT_CLIPS))
    write_list(clips, list_path(options.seed, options.variants))
    return 0


def _report(options: Options) -> int:
    from i2v3d.report.files import replacing_contents
    from miniature.report import collect
    from miniature.report_page import write_report

    with replacing_contents(options.out) as made:
        write_report(collect(options.plan, options.cache), options.cache, made)
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 an error that the user can mend."""
    try:
        options = parse(sys.argv[1:] if words is None else words)
        file = getattr(options, "log", None)
        if options.command != "train":  # of several processes that train, one speaks
            set_up_logging(file)
        status: int = options.run(options)
        return status
    except I2V3DError as error:
        log.debug("traceback", exc_info=True)
        sys.stderr.write(f"miniature: error: {error}\n")
        return 2
    except Exception:
        log.debug("traceback", exc_info=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
