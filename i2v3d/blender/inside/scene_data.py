"""What passes must not depend on beside the render settings: lenses, holdouts, volumes, and keys on any of these.

Our own scenes have none of it; artists' files may.
"""

from __future__ import annotations

import logging

import bpy

from i2v3d.blender.inside.nodes import FACE_KINDS, everything
from i2v3d.blender.inside.opacity import LAYER_FLAG, is_split, split_by_layer, surface_opacity

log = logging.getLogger(__name__)

_PINNED_KEYS = ("render.", "cycles.", "cycles_curves.", "view_settings.", "display_settings.", "view_layers[")


def pin_scene_data(scene: bpy.types.Scene) -> None:
    """Takes off what would spoil passes: depth of field, shadow catchers, holdouts, volumes, keyed settings.

    What an artist will see missing is warned about once, when the file is adopted.
    """
    _forget(scene, _PINNED_KEYS)
    for camera in bpy.data.cameras:
        _forget(camera, ("dof.",))
        camera.dof.use_dof = False
    things = [
        item for item in everything(scene) if item.type in FACE_KINDS
    ]  # lights are born as shadow catchers
    special = [item.name for item in things if item.is_shadow_catcher or item.is_holdout]
    if special:
        log.warning("shadow catchers and holdouts are rendered as plain objects: %s", ", ".join(special))
    for item in things:
        item.is_shadow_catcher = item.is_holdout = False
        _forget(item, ("is_shadow_catcher", "is_holdout"))
    _pin_volumes(scene)
    for material in bpy.data.materials:
        if material.users and material.node_tree is not None:
            _pin_opacity(material.node_tree)


def mark_layers(layers: bpy.types.ViewLayers, data: str) -> None:
    """Tells the nodes which view layer is the data layer."""
    for layer in layers:
        layer[LAYER_FLAG] = float(layer.name == data)


def _pin_volumes(scene: bpy.types.Scene) -> None:
    """Leaves volumes out: rays that they scatter by chance would have no depth."""
    found = []
    world = scene.world
    trees = [("the world", world.node_tree)] if world is not None and world.node_tree is not None else []
    trees += [(m.name, m.node_tree) for m in bpy.data.materials if m.users and m.node_tree is not None]
    for name, tree in trees:
        for output in (node for node in tree.nodes if node.type in ("OUTPUT_MATERIAL", "OUTPUT_WORLD")):
            if not output.inputs["Volume"].is_linked:
                continue
            found.append(name)
            tree.links.remove(output.inputs["Volume"].links[0])
            if output.type == "OUTPUT_MATERIAL" and not output.inputs["Surface"].is_linked:
                clear = tree.nodes.new("ShaderNodeBsdfTransparent")
                tree.links.new(clear.outputs[0], output.inputs["Surface"])
    found += [item.name for item in everything(scene) if item.type == "VOLUME"]
    if found:
        log.warning("volumes are left out of all passes: %s", ", ".join(found))


def _pin_opacity(tree: bpy.types.NodeTree) -> None:
    """Makes a material that is transparent somewhere whole or absent in the data layer."""
    output = tree.get_output_node("CYCLES")
    if output is None or not output.inputs["Surface"].is_linked or is_split(output):
        return
    opacity = surface_opacity(tree, output.inputs["Surface"])
    if not isinstance(opacity, float) or opacity < 1:
        split_by_layer(tree, output, output.inputs["Surface"].links[0].from_socket, opacity)


def _forget(block: bpy.types.ID, paths: tuple[str, ...]) -> None:
    """Removes keys and drivers of a data block's properties whose paths begin with one of `paths`."""
    animation = block.animation_data
    if animation is None:
        return
    for driver in [curve for curve in animation.drivers if curve.data_path.startswith(paths)]:
        animation.drivers.remove(driver)
    actions = {animation.action} | {strip.action for track in animation.nla_tracks for strip in track.strips}
    for action in actions - {None}:
        bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
        for bag in bags:
            for curve in [curve for curve in bag.fcurves if curve.data_path.startswith(paths)]:
                bag.fcurves.remove(curve)
