"""Sun and world light of the lit style."""

from __future__ import annotations

import math

import bpy
from mathutils import Vector

from i2v3d.artifacts.scene_spec import Lighting


def add_lights(scene: bpy.types.Scene, lighting: Lighting) -> None:
    """Adds the sun and the world's light of a lit scene; a flat one stays dark, as its surfaces shine."""
    if lighting.style == "flat":
        return
    data = bpy.data.lights.new("sun", "SUN")
    data.energy, data.color = lighting.sun_strength, lighting.sun_colour
    data.angle = math.radians(lighting.sun_angle_deg)
    sun = bpy.data.objects.new("sun", data)
    sun.rotation_mode = "QUATERNION"
    sun.rotation_quaternion = Vector(lighting.sun_direction).to_track_quat("Z", "Y")
    scene.collection.objects.link(sun)
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    background = next(node for node in world.node_tree.nodes if node.type == "BACKGROUND")
    background.inputs["Color"].default_value = (*lighting.world_colour, 1.0)
    background.inputs["Strength"].default_value = lighting.world_strength
    scene.world = world
