"""Where the weights of a network lie."""

from __future__ import annotations

from i2v3d.config.bounds import NonNegative
from i2v3d.config.sections import section


@section
class WeightsRef:
    """Where weights lie. source: a folder, or a repository id of the local model cache.

    revision: the pinned commit of a repository. subfolder, variant: as diffusers means them.
    size_gb and licence are what the message about missing weights tells.
    """

    source: str
    revision: str | None
    subfolder: str | None
    variant: str | None
    size_gb: NonNegative
    licence: str
