"""Materials of the coarse renders: the base colour straight to the surface, or shaded by the scene's light."""

from __future__ import annotations

import bpy

from i2v3d.errors import InputError


def make_coarse(mesh: bpy.types.Mesh, style: str) -> None:
    """Replaces every material of a mesh by one of its base colour alone; adds one if there is none.

    style: 'flat', an emission, or 'lit', a matt surface. The colour is what feeds Base Color of the
    Principled shader (texture or colour attribute), else the mesh's colour attribute, else the constant.
    Raises InputError if a texture holds no pixels.
    """
    if not any(mesh.materials):
        mesh.materials.clear()
        mesh.materials.append(bpy.data.materials.new(f"{mesh.name}_{style}"))
    attribute = mesh.color_attributes[0].name if len(mesh.color_attributes) else None
    for material in set(filter(None, mesh.materials)):
        material.use_nodes = True
        material.cycles.emission_sampling = "NONE"  # else every face counts as a lamp, a million of them
        _check_textures(material)
        _link_surface(material.node_tree, attribute, style)


def _link_surface(tree: bpy.types.NodeTree, attribute: str | None, style: str) -> None:
    """Rewires one material's nodes: colour -> emission or matt surface."""
    shader = next((node for node in tree.nodes if node.type in ("BSDF_PRINCIPLED", "EMISSION")), None)
    source = None
    if shader is not None:
        source = shader.inputs["Base Color" if shader.type == "BSDF_PRINCIPLED" else "Color"]
    surface = tree.nodes.new("ShaderNodeEmission" if style == "flat" else "ShaderNodeBsdfDiffuse")
    colour = surface.inputs["Color"]
    if source is not None and source.is_linked:
        tree.links.new(source.links[0].from_socket, colour)
    elif attribute is not None:
        node = tree.nodes.new("ShaderNodeAttribute")
        node.attribute_name = attribute
        tree.links.new(node.outputs["Color"], colour)
    elif source is not None:
        colour.default_value = source.default_value
    output = tree.get_output_node("CYCLES") or tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(surface.outputs[0], output.inputs["Surface"])


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
