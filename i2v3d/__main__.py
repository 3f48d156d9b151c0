"""`python -m i2v3d`."""

import sys

from i2v3d.cli import main

sys.exit(main())
