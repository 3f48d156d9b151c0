"""How opaque a material is where, so that holes of a texture are holes in every pass.

Cycles chooses at random whether a ray passes a half-transparent surface. The data layer has one ray a pixel, so
there a surface is either whole or not there: opaque from `THRESHOLD` on. The colour layer blends.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import bpy

LAYER_FLAG = "i2v3d_data"  # custom property of view layers that nodes can read: 1 in the data layer, else 0
THRESHOLD = 0.5
_SPLIT = "i2v3d split"  # the node that chooses between the layers
_OUTPUT = "i2v3d opacity"  # the socket through which a group's opacity comes out

Opacity: TypeAlias = float | Any  # the same everywhere, or the socket of a node that says it


def surface_opacity(tree: bpy.types.NodeTree, socket: bpy.types.NodeSocket) -> Opacity:
    """The opacity of what is linked to a shader input. Shaders that are not looked into count as opaque."""
    if not socket.is_linked:
        return 1.0
    source = socket.links[0].from_socket
    return _of_node(tree, source.node, source)


def _of_node(tree: bpy.types.NodeTree, node: bpy.types.Node, source: bpy.types.NodeSocket) -> Opacity:
    if node.mute:
        return 1.0
    if node.type == "REROUTE":
        return surface_opacity(tree, node.inputs[0])
    if node.type == "BSDF_PRINCIPLED":
        return _scalar(node.inputs["Alpha"])
    if node.type == "BSDF_TRANSPARENT":
        colour = node.inputs["Color"]
        return 0.0 if colour.is_linked else 1.0 - sum(colour.default_value[:3]) / 3
    if node.type == "MIX_SHADER":
        first, second = (surface_opacity(tree, node.inputs[n]) for n in (1, 2))
        return _mixed(tree, _scalar(node.inputs["Fac"]), first, second)
    if node.type == "ADD_SHADER":  # what gets through one and the other adds up
        first, second = (surface_opacity(tree, socket) for socket in node.inputs)
        return _math(tree, "SUBTRACT", _math(tree, "ADD", first, second), 1.0)
    if node.type == "GROUP" and node.node_tree is not None:
        return _of_group(node, source)
    return 1.0


def _of_group(node: bpy.types.Node, source: bpy.types.NodeSocket) -> Opacity:
    """The opacity of a group's shader; one that varies gets an output of its own."""
    inner = node.node_tree
    end = next((n for n in inner.nodes if n.type == "GROUP_OUTPUT" and n.is_active_output), None)
    if end is None:
        return 1.0
    name = f"{_OUTPUT} {source.identifier}"
    if name not in node.outputs:
        found = surface_opacity(inner, next(s for s in end.inputs if s.identifier == source.identifier))
        if isinstance(found, float):
            return found
        inner.interface.new_socket(name, in_out="OUTPUT", socket_type="NodeSocketFloat")
        inner.links.new(found, end.inputs[name])
    return node.outputs[name]


def _scalar(socket: bpy.types.NodeSocket) -> Opacity:
    return socket.links[0].from_socket if socket.is_linked else float(socket.default_value)


def _mixed(tree: bpy.types.NodeTree, share: Opacity, first: Opacity, second: Opacity) -> Opacity:
    """first * (1 - share) + second * share."""
    if isinstance(first, float) and isinstance(second, float) and first == second:
        return first
    rest = _math(tree, "SUBTRACT", 1.0, share)
    return _math(tree, "ADD", _math(tree, "MULTIPLY", first, rest), _math(tree, "MULTIPLY", second, share))


def _math(tree: bpy.types.NodeTree, operation: str, first: Opacity, second: Opacity) -> Opacity:
    if isinstance(first, float) and isinstance(second, float):
        return {"ADD": first + second, "SUBTRACT": first - second, "MULTIPLY": first * second}[operation]
    node = tree.nodes.new("ShaderNodeMath")
    node.operation = operation
    for socket, value in zip(node.inputs, (first, second), strict=False):
        if isinstance(value, float):
            socket.default_value = value
        else:
            tree.links.new(value, socket)
    return node.outputs[0]


def split_by_layer(
    tree: bpy.types.NodeTree, output: bpy.types.Node, surface: bpy.types.NodeSocket, opacity: Opacity
) -> None:
    """Links `surface` to a material's output: as it is in the colour layer, whole or absent in the data layer."""
    if isinstance(opacity, float):
        sharp: Opacity = float(opacity >= THRESHOLD)
    else:
        sharp = _math(tree, "GREATER_THAN", opacity, THRESHOLD - 1e-4)
    whole = tree.nodes.new("ShaderNodeEmission")
    whole.inputs["Strength"].default_value = 0.0
    flag = tree.nodes.new("ShaderNodeAttribute")
    flag.attribute_type, flag.attribute_name = "VIEW_LAYER", LAYER_FLAG
    gone = tree.nodes.new("ShaderNodeBsdfTransparent").outputs[0]
    data = mix(tree, sharp, gone, whole.outputs[0])
    chosen = mix(tree, flag.outputs["Fac"], surface, data)
    chosen.node.name = _SPLIT
    tree.links.new(chosen, output.inputs["Surface"])


def is_split(output: bpy.types.Node) -> bool:
    """Whether `split_by_layer` was there already."""
    links = output.inputs["Surface"].links
    return len(links) > 0 and links[0].from_node.name.startswith(_SPLIT)


def mix(
    tree: bpy.types.NodeTree,
    share: Opacity,
    first: bpy.types.NodeSocket,
    second: bpy.types.NodeSocket,
) -> bpy.types.NodeSocket:
    """A shader that is the second one by `share`, else the first one."""
    node = tree.nodes.new("ShaderNodeMixShader")
    if isinstance(share, float):
        node.inputs["Fac"].default_value = share
    else:
        tree.links.new(share, node.inputs["Fac"])
    tree.links.new(first, node.inputs[1])
    tree.links.new(second, node.inputs[2])
    return node.outputs[0]
