"""`python -m i2v3d`."""

import sys

from i2v3d.workflow.warm.client import forked

status = forked(sys.argv[1:])
if status is None:
    from i2v3d.cli import main

    status = main()
sys.exit(status)
