"""Another seed for some segments: the node that has it lends every other segment from the nodes that made those.

A segment's frames depend on its own seed, and, where segments are chained, on those before it. So a node whose
`interpolate.segment_seeds` is {3: 7} makes segment 3 itself and takes the others over from the node without it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from i2v3d.errors import ConfigError
from i2v3d.stages.registry import STAGES

if TYPE_CHECKING:
    from i2v3d.workflow.plan import Node

SECTION, OPTION = "interpolate", "segment_seeds"


def with_lenders(
    node: Node, again: Callable[[Mapping[str, Any]], Node], config: Mapping[str, Any]
) -> Iterator[Node]:
    """The nodes that a node takes segments over from, each before those that need it, and the node itself.

    again: the node of the same stage for another composed configuration. config: of the variant. Raises ConfigError
    for a segment that the shot does not have.
    """
    section = node.config.get(SECTION)
    seeds = dict(section.get(OPTION) or {}) if isinstance(section, Mapping) else {}
    if not seeds or not STAGES[node.stage].per_segment:
        yield node
        return
    numbers = {int(segment): seed for segment, seed in seeds.items()}
    if max(numbers) >= node.segments:
        raise ConfigError(
            f"interpolate.segment_seeds names segment {max(numbers)}, but the shot has segments 0 to "
            f"{node.segments - 1}; name one of those"
        )
    chained = STAGES[node.stage].is_chained(node.config)
    lent = {}
    for segment in range(node.segments):
        own = {s: seed for s, seed in numbers.items() if (s <= segment if chained else s == segment)}
        if own == numbers:
            continue
        other = copy.deepcopy(dict(config))
        other[SECTION][OPTION] = own
        lender = again(other)
        lent[str(segment)] = lender.key
        yield from with_lenders(lender, again, other)
    yield dataclasses.replace(node, lent=lent)
