"""`i2v3d report`: the page that compares variants, for its rules."""

from __future__ import annotations

from pathlib import Path

from i2v3d.commands.parsers import Group, Options, add_job_options

KINDS = ("benchmark", "run")


def add_parser(group: Group) -> None:
    """A plan in, a page with its tables out."""
    parser = group.add("report", run, what="the page of a benchmark, or the comparison of a run's variants")
    parser.add_argument("kind", choices=KINDS, help="benchmark: on many clips; run: on one shot")
    add_job_options(
        parser, "plan", "what the planning wrote about it", "folder that the report's files are put in"
    )
    parser.add_argument(
        "--settings", type=Path, help="run settings that the plan wrote, to track a benchmark with"
    )


def run(options: Options) -> int:
    """Writes the report and, with --settings, the tracker's runs of it."""
    from i2v3d.report.files import replacing_contents
    from i2v3d.report.of_benchmark import write_benchmark
    from i2v3d.report.of_run import write_run

    write = {"benchmark": write_benchmark, "run": write_run}[options.kind]
    with replacing_contents(options.out) as made:
        write(options.plan, options.cache, made)
    if options.settings is not None:
        from i2v3d.workflow.runner import Settings
        from i2v3d.workflow.tracking.comparison import comparison_runs

        directory = options.cache / "tracking"
        directory.mkdir(parents=True, exist_ok=True)
        wanted = Settings.load(options.settings).tracking
        comparison_runs(wanted, group=options.out.name, results=options.out, directory=directory)
    return 0
