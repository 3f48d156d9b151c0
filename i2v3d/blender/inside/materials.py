"""Materials of the coarse renders: the base colour straight to the surface, or shaded by the scene's light."""

from __future__ import annotations

import logging
from typing import Any, TypeAlias

import bpy

from i2v3d.blender.inside.nodes import feeding, shown_materials
from i2v3d.blender.inside.opacity import Opacity, mix, split_by_layer, surface_opacity
from i2v3d.errors import InputError

log = logging.getLogger(__name__)

COLOURLESS = 0.02  # largest difference of the channels of a grey
_COLOURS = {"BSDF_PRINCIPLED": "Base Color", "EMISSION": "Color", "BSDF_DIFFUSE": "Color"}

Colour: TypeAlias = tuple[float, ...] | Any  # Any: a node's socket; None: no colour


def make_coarse(mesh: bpy.types.Mesh, style: str, *, layers_colour: bool = True) -> None:
    """Replaces every material of a mesh by one of its colour and its transparency alone; adds one if there is none.

    style: 'flat', an emission, or 'lit', a matt surface. The colour is what feeds Base Color of the Principled
    shader (texture or colour attribute), else what it emits if it has no colour of its own, else the mesh's colour
    attribute, else the constant. layers_colour: whether an attribute that no material reads is meant as colour and
    wins over a constant; FBX files carry masks there. Raises InputError if a texture holds no pixels.
    """
    if not any(mesh.materials):
        mesh.materials.clear()
        mesh.materials.append(bpy.data.materials.new(f"{mesh.name}_{style}"))
    attribute = _attribute(mesh)
    for material in set(filter(None, mesh.materials)):
        material.use_nodes = True
        material.cycles.emission_sampling = "NONE"  # else every face counts as a lamp, a million of them
        _link_surface(material, attribute, style, layers_colour)
        check_textures(material)


def _attribute(mesh: bpy.types.Mesh) -> str | None:
    """The colour attribute that renders show."""
    colours = mesh.color_attributes
    if not len(colours):
        return None
    return str(colours[max(0, colours.render_color_index)].name)


def _link_surface(
    material: bpy.types.Material, attribute: str | None, style: str, layers_colour: bool
) -> None:
    """Rewires one material's nodes: colour and opacity -> emission or matt surface."""
    tree = material.node_tree
    output = tree.get_output_node("CYCLES") or tree.nodes.new("ShaderNodeOutputMaterial")
    opacity = surface_opacity(tree, output.inputs["Surface"])
    base, emitted = _colours(tree)
    if isinstance(base, tuple) and _replaces(attribute, base, emitted, layers_colour):
        node = tree.nodes.new("ShaderNodeAttribute")
        node.attribute_name = attribute
        base = node.outputs["Color"]
    elif attribute is not None and isinstance(base, tuple) and emitted is None:
        log.warning(
            "material %r keeps its own colour: colour layer %r is taken for a mask", material.name, attribute
        )
    surface = _flat(tree, base, emitted) if style == "flat" else _lit(tree, base, emitted)
    for socket in (output.inputs["Volume"], output.inputs["Displacement"]):
        for link in socket.links:
            tree.links.remove(link)
    _link_opacity(material, output, surface, opacity)


def _replaces(attribute: str | None, base: tuple[float, ...], emitted: Colour, layers_colour: bool) -> bool:
    """Whether a mesh's colour attribute stands in for a constant colour."""
    return attribute is not None and emitted is None and (layers_colour or _colourless(base))


def _link_opacity(
    material: bpy.types.Material, output: bpy.types.Node, surface: bpy.types.NodeSocket, opacity: Opacity
) -> None:
    tree = material.node_tree
    if isinstance(opacity, float) and opacity <= 0:
        log.warning("material %r is fully transparent in its file and shown opaque", material.name)
        opacity = 1.0
    if isinstance(opacity, float) and opacity >= 1:
        tree.links.new(surface, output.inputs["Surface"])
        return
    clear = tree.nodes.new("ShaderNodeBsdfTransparent").outputs[0]
    split_by_layer(tree, output, mix(tree, opacity, clear, surface), opacity)


def _colours(tree: bpy.types.NodeTree) -> tuple[Colour, Colour]:
    """What the material's shader reflects and what it emits beside that; emission alone counts as colour."""
    nodes = sorted(
        feeding(tree), key=lambda node: list(_COLOURS).index(node.type) if node.type in _COLOURS else 9
    )
    shader = next((node for node in nodes if node.type in _COLOURS), None)
    if shader is None:
        return (0.8, 0.8, 0.8, 1.0), None
    base = _value(shader.inputs[_COLOURS[shader.type]])
    emitted = _emitted(tree, shader) if shader.type == "BSDF_PRINCIPLED" else None
    if emitted is None or not isinstance(base, tuple) or not _colourless(base):
        return base, emitted
    shines = not isinstance(emitted, tuple) or max(emitted[:3]) > max(base[:3]) / 2
    return ((0.0, 0.0, 0.0, 1.0), emitted) if shines else (base, emitted)


def _emitted(tree: bpy.types.NodeTree, shader: bpy.types.Node) -> Colour:
    """What a Principled shader emits; None if nothing."""
    colour, strength = _value(shader.inputs["Emission Color"]), shader.inputs["Emission Strength"]
    factor = 1.0 if strength.is_linked else float(strength.default_value)
    if factor <= 0 or (isinstance(colour, tuple) and max(colour[:3]) <= 0):
        return None
    if isinstance(colour, tuple):
        return (*(min(1.0, factor * value) for value in colour[:3]), 1.0)
    return colour if factor == 1 else _combined(tree, "MULTIPLY", colour, (factor, factor, factor, 1.0))


def _flat(tree: bpy.types.NodeTree, base: Colour, emitted: Colour) -> bpy.types.NodeSocket:
    return _shader(tree, "ShaderNodeEmission", base if emitted is None else _sum(tree, base, emitted))


def _lit(tree: bpy.types.NodeTree, base: Colour, emitted: Colour) -> bpy.types.NodeSocket:
    matt = _shader(tree, "ShaderNodeBsdfDiffuse", base)
    if emitted is None:
        return matt
    both = tree.nodes.new("ShaderNodeAddShader")
    tree.links.new(matt, both.inputs[0])
    tree.links.new(_shader(tree, "ShaderNodeEmission", emitted), both.inputs[1])
    return both.outputs[0]


def _sum(tree: bpy.types.NodeTree, base: Colour, emitted: Colour) -> Colour:
    if isinstance(base, tuple) and max(base[:3]) <= 0:
        return emitted
    return _combined(tree, "ADD", base, emitted)


def _combined(tree: bpy.types.NodeTree, blend: str, first: Colour, second: Colour) -> Colour:
    node = tree.nodes.new("ShaderNodeMix")
    node.data_type, node.blend_type, node.clamp_result = "RGBA", blend, True
    node.inputs[0].default_value = 1.0
    for socket, colour in zip((node.inputs[6], node.inputs[7]), (first, second), strict=True):
        _set(tree, socket, colour)
    return node.outputs[2]


def _shader(tree: bpy.types.NodeTree, kind: str, colour: Colour) -> bpy.types.NodeSocket:
    node = tree.nodes.new(kind)
    _set(tree, node.inputs["Color"], colour)
    return node.outputs[0]


def _set(tree: bpy.types.NodeTree, socket: bpy.types.NodeSocket, colour: Colour) -> None:
    if isinstance(colour, tuple):
        socket.default_value = colour
    else:
        tree.links.new(colour, socket)


def _value(socket: bpy.types.NodeSocket) -> Colour:
    return socket.links[0].from_socket if socket.is_linked else tuple(socket.default_value)


def _colourless(colour: tuple[float, ...]) -> bool:
    return max(colour[:3]) - min(colour[:3]) <= COLOURLESS


def check_textures(material: bpy.types.Material) -> None:
    """Raises InputError if a picture that feeds the surface could not be loaded (it would render magenta)."""
    for node in feeding(material.node_tree):
        if node.type != "TEX_IMAGE" or node.image is None or node.image.source not in ("FILE", "GENERATED"):
            continue
        node.image.update()  # pictures are read when they are first needed
        if min(node.image.size) == 0:
            raise InputError(
                f"texture {node.image.filepath or node.image.name!r} of material {material.name!r} holds no pixels; "
                "put it beside the file, or export with it embedded"
            )


def check_all_textures(scene: bpy.types.Scene) -> None:
    """`check_textures` for every material that the scene shows."""
    for material in shown_materials(scene):
        check_textures(material)
