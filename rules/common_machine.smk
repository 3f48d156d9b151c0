"""What jobs ask of the machine that they run on: of this one, or of a cluster's."""

from i2v3d.workflow.demands import Computer, asked_cards, asked_threads, forks_jobs
from i2v3d.workflow.machine_checks import check_here
from i2v3d.workflow.warm.client import offer


@functools.cache
def here():
    """This machine, if the jobs run on it; None where a cluster's do, or where this is one of those."""
    away = workflow.non_local_exec or not workflow.is_main_process
    return None if away else Computer.with_cores(workflow.cores)


def threads_of(stage):
    """Function of a job's threads."""

    def threads(wildcards):
        return asked_threads(STAGES[stage], planned_runtime(SETTINGS), here())

    return threads


def machine(stage):
    """What a job of the stage asks for, as snakemake's resources; a job that is tried again gets more memory."""
    needs = STAGES[stage].machine

    def cards(wildcards):
        return asked_cards(STAGES[stage], planned_runtime(SETTINGS), here())

    def memory(wildcards, attempt):
        return attempt * (needs.memory_mb or planned_runtime(SETTINGS)["memory_mb"])

    return {"gpu": cards, "mem_mb": memory, "runtime": needs.minutes}


def check_this_machine(runtime):
    """Ends snakemake with a line if jobs are to run here, and could not. runtime: the options, as the plan has them."""
    if here() is not None and not workflow.dryrun:
        told(check_here, runtime.device, here())


def offer_forks():
    """Lets the jobs of this run be forked from one process, if they run on this machine and in this environment."""
    runtime = planned_runtime(SETTINGS) if SETTINGS.exists() else None
    if runtime and not DEPLOYED and forks_jobs(runtime, here()):
        starting = [name for name, stage in STAGES.items() if stage.machine.gpus]
        offer(starting, CACHE / "log" / "warm.log")
