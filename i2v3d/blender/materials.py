"""Flat materials: the base colour straight to the surface, without light."""

from __future__ import annotations

import bpy

from i2v3d.errors import InputError


def make_flat(mesh: bpy.types.Mesh) -> None:
    """Replaces every material of a mesh by an emission of its base colour; adds one if there is none.

    The colour is what feeds Base Color of the Principled shader (texture or colour attribute), else the
    mesh's colour attribute, else the constant. Raises InputError if a texture holds no pixels.
    """
    if not any(mesh.materials):
        mesh.materials.clear()
        mesh.materials.append(bpy.data.materials.new(f"{mesh.name}_flat"))
    attribute = mesh.color_attributes[0].name if len(mesh.color_attributes) else None
    for material in set(filter(None, mesh.materials)):
        material.use_nodes = True
        material.cycles.emission_sampling = "NONE"  # else every face counts as a lamp, a million of them
        _check_textures(material)
        _link_flat(material.node_tree, attribute)


def _link_flat(tree: bpy.types.NodeTree, attribute: str | None) -> None:
    """Rewires one material's nodes: colour -> emission -> surface."""
    shader = next((node for node in tree.nodes if node.type in ("BSDF_PRINCIPLED", "EMISSION")), None)
    socket = None
    if shader is not None:
        socket = shader.inputs["Base Color" if shader.type == "BSDF_PRINCIPLED" else "Color"]
    emission = tree.nodes.new("ShaderNodeEmission")
    emission.inputs["Strength"].default_value = 1.0
    if socket is not None and socket.is_linked:
        tree.links.new(socket.links[0].from_socket, emission.inputs["Color"])
    elif attribute is not None:
        colour = tree.nodes.new("ShaderNodeAttribute")
        colour.attribute_name = attribute
        tree.links.new(colour.outputs["Color"], emission.inputs["Color"])
    elif socket is not None:
        emission.inputs["Color"].default_value = socket.default_value
    output = tree.get_output_node("CYCLES") or tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(emission.outputs["Emission"], output.inputs["Surface"])


def _check_textures(material: bpy.types.Material) -> None:
    """Raises InputError if an image texture of the material could not be loaded (it would render magenta)."""
    for node in material.node_tree.nodes:
        if node.type == "TEX_IMAGE" and (node.image is None or min(node.image.size) == 0):
            name = node.image.name if node.image is not None else "none"
            raise InputError(
                f"texture {name!r} of material {material.name!r} has no pixels; "
                "export the mesh with its textures embedded"
            )


def check_all_textures() -> None:
    """`_check_textures` for every material that is in use."""
    for material in bpy.data.materials:
        if material.users and material.node_tree is not None:
            _check_textures(material)
