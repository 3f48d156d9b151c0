"""Which nodes a render will read: those that feed the active output of materials on rendered faces."""

from __future__ import annotations

from collections.abc import Iterator

import bpy
import numpy as np

FACE_KINDS = {"MESH": "mesh", "FONT": "text", "CURVE": "curve", "SURFACE": "surface", "META": "metaball"}
"""Types of objects that have faces when they are rendered, by their names in Blender's menus."""


def feeding(tree: bpy.types.NodeTree, kind: str = "CYCLES") -> Iterator[bpy.types.Node]:
    """Every node that a material's active output reads, through groups as well, each once."""
    output = tree.get_output_node(kind)
    waiting = [] if output is None else [output]
    seen: set[bpy.types.Node] = set()
    while waiting:
        node = waiting.pop()
        if node in seen or node.mute:
            continue
        seen.add(node)
        yield node
        waiting += [link.from_node for socket in node.inputs if socket.enabled for link in socket.links]
        if node.type == "GROUP" and node.node_tree is not None:
            waiting += [n for n in node.node_tree.nodes if n.type == "GROUP_OUTPUT" and n.is_active_output]


def everything(scene: bpy.types.Scene) -> Iterator[bpy.types.Object]:
    """The objects of a scene, of the collections that it shows as instances, and of scenes set behind it."""
    seen: set[bpy.types.Object] = set()
    scenes, here = [], scene
    while here is not None and here not in scenes:
        scenes.append(here)
        here = here.background_set
    waiting = [item for one in scenes for item in one.objects]
    while waiting:
        item = waiting.pop(0)
        if item in seen:
            continue
        seen.add(item)
        yield item
        if item.instance_type == "COLLECTION" and item.instance_collection is not None:
            waiting += item.instance_collection.all_objects


def may_show(item: bpy.types.Object) -> bool:
    """Whether an object is rendered, or could be by its keys."""
    animation = item.animation_data
    keyed = animation is not None and (animation.action is not None or len(animation.drivers) > 0)
    return not item.hide_render or keyed


def shown_materials(scene: bpy.types.Scene) -> Iterator[bpy.types.Material]:
    """Materials with nodes on faces that can be rendered, each once."""
    seen: set[bpy.types.Material] = set()
    for item in everything(scene):
        if not may_show(item):
            continue
        for number in _used_slots(item):
            material = item.material_slots[number].material
            if material is not None and material.node_tree is not None and material not in seen:
                seen.add(material)
                yield material


def _used_slots(item: bpy.types.Object) -> list[int]:
    """The material slots that faces of an object name; all of them if modifiers may change the faces."""
    every = list(range(len(item.material_slots)))
    if item.type != "MESH" or item.modifiers or not len(item.data.polygons):
        return every
    named = np.empty(len(item.data.polygons), np.int32)
    item.data.polygons.foreach_get("material_index", named)
    return [number for number in every if number in set(np.unique(named).tolist())]
