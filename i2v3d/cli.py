"""The program's entry: `i2v3d COMMAND ...`, or `i2v3d HYDRA_WORDS -- SNAKEMAKE_WORDS` for the whole workflow."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from i2v3d.errors import I2V3DError
from i2v3d.logs import REASON, set_up_logging
from i2v3d.workflow.interrupts import INTERRUPTED, LINE

log = logging.getLogger("i2v3d")
# Of a disk, whichever file it is: full, over quota, read-only, of somebody else, broken.
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
DONE, DEFECT, MISTAKE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 a defect of the program, 2 an error that the user can mend, 130 interrupted.

    The user sees one line and the log file of a job the traceback; a defect without a log file keeps its traceback.
    """
    file: Path | None = None
    try:
        from i2v3d.commands.tree import parse  # half a second, in which Ctrl-C shall be a line as well

        options = parse(list(sys.argv[1:] if arguments is None else arguments))
        file = getattr(options, "log", None)
        set_up_logging(file)
        status: int = options.run(options)
        return status
    except I2V3DError as error:
        return _fail(f"error: {error}", MISTAKE)
    except KeyboardInterrupt:
        if file is not None:  # a job, whose workflow tells the user
            log.debug("interrupted")
            return INTERRUPTED
        sys.stderr.write(LINE)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in REFUSALS:
            where = f" ({error.filename})" if error.filename else ""
            more = f", the log {file} says more" if file is not None else ""
            return _fail(
                f"error: {error.strerror}{where}; free or unlock the disk and run the same command again{more}",
                MISTAKE,
            )
        if file is None:
            raise
        return _fail(f"defect: {type(error).__name__}: {error}; the log {file} says where", DEFECT)


def _fail(message: str, status: int) -> int:
    log.debug("%s%s", REASON, message, exc_info=True)
    sys.stderr.write(f"i2v3d: {message}\n")
    return status
