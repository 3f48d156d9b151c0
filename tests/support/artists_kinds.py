"""What artists leave in a .blend: code that makes each kind of the plain file, and the foreground to ask for.

Run inside Blender by tests/support/artists_blends.py; here only named, so that tests need not import Blender.
"""

from __future__ import annotations

_IMAGE = (
    "i = bpy.data.images.load(folder + '/red.png', check_existing=False); m = {material}; m.use_nodes = True; "
    "n = m.node_tree.nodes.new('ShaderNodeTexImage'); n.image = i; "
)
_SHOWN = "m.node_tree.links.new(n.outputs[0], m.node_tree.nodes['Principled BSDF'].inputs['Base Color']); "
_HERO = _IMAGE.format(material="hero.data.materials[0]")
_UNUSED = _IMAGE.format(material="bpy.data.materials.new('unused')") + "m.use_fake_user = True; "
_EMPTY = (
    "n = hero.data.materials[0].node_tree.nodes.new('ShaderNodeTexImage'); "
    "l = hero.data.materials[0].node_tree.links; "
)
_INSTANCE = (
    "k = bpy.data.collections.new('kit'); hero.users_collection[0].objects.unlink(hero); k.objects.link(hero); "
    "e = bpy.data.objects.new('copy', None); e.instance_type = 'COLLECTION'; e.instance_collection = k; "
    "s.collection.objects.link(e); "
)
_SCALE = (
    "[setattr(x, 'scale', x.scale * 100) or setattr(x, 'location', x.location * 100) for x in s.objects "
    "if x.type != 'CAMERA']; s.camera.location *= 100; s.camera.data.clip_end = 1e5; "
)
# name -> (code in Blender, names of the foreground)
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "as it should be": ("", ("Hero",)),
    "by its collection": ("", ("Collection",)),
    "centimetres": (f"{_SCALE} s.unit_settings.scale_length = 0.01", ("Hero",)),
    "no units": ("s.unit_settings.system = 'NONE'; s.unit_settings.scale_length = 0.01", ("Hero",)),
    "a hundred metres": (f"{_SCALE}", ("Hero",)),
    "far away": ("[setattr(x.location, 'x', x.location.x + 1e6) for x in s.objects]", ("Hero",)),
    "text": ("c = bpy.data.curves.new('t', 'FONT'); c.body = 'HI'; c.extrude = 0.1; c.size = 2; add(c)", ("new",)),
    "curve": ("c = bpy.data.curves.new('t', 'CURVE'); c.bevel_depth = 0.3; c.dimensions = '3D'; "
              "p = c.splines.new('POLY'); p.points.add(1); "
              "p.points[0].co = (-1, 0, 0, 1); p.points[1].co = (1, 0, 0, 1); add(c)", ("new",)),
    "metaball": ("c = bpy.data.metaballs.new('t'); c.elements.new(); add(c)", ("new",)),
    "instance": (f"{_INSTANCE} e.location.x = 0.3", ("copy",)),
    "two instances, one chosen": (
        f"{_INSTANCE} f = e.copy(); f.name = 'other'; f.location.x = 2; s.collection.objects.link(f)", ("copy",)
    ),
    "a light for the foreground": ("", ("Sun",)),
    "an empty collection": ("s.collection.children.link(bpy.data.collections.new('none'))", ("none",)),
    "a wrong name": ("", ("Heroo",)),
    "no foreground": ("", ()),
    "no camera": ("s.camera = None", ("Hero",)),
    "orthographic": ("s.camera.data.type = 'ORTHO'", ("Hero",)),
    "panorama": ("s.camera.data.type = 'PANO'", ("Hero",)),
    "orthographic from frame 2": (
        "d = bpy.data.cameras.new('top'); d.type = 'ORTHO'; o = bpy.data.objects.new('top', d); "
        "s.collection.objects.link(o); a = s.timeline_markers.new('a', frame=1); a.camera = s.camera; "
        "b = s.timeline_markers.new('b', frame=2); b.camera = o", ("Hero",)),
    "orthographic after the shot": (
        "d = bpy.data.cameras.new('top'); d.type = 'ORTHO'; o = bpy.data.objects.new('top', d); "
        "s.collection.objects.link(o); a = s.timeline_markers.new('a', frame=1); a.camera = s.camera; "
        "b = s.timeline_markers.new('b', frame=9); b.camera = o", ("Hero",)),
    "picture beside": (f"{_HERO} {_SHOWN}", ("Hero",)),
    "picture gone": (f"{_HERO} {_SHOWN} i.filepath = '//gone.png'", ("Hero",)),
    "picture of an unused material gone": (f"{_UNUSED} i.filepath = '//gone.png'", ("Hero",)),
    "picture of no face gone": (
        "hero.data.materials.append(bpy.data.materials.new('slot')); "
        f"{_IMAGE.format(material='hero.data.materials[1]')} "
        f"{_SHOWN} i.filepath = '//gone.png'", ("Hero",)),
    "unlinked picture gone": (f"{_HERO} i.filepath = '//gone.png'", ("Hero",)),
    "picture outside": (f"{_HERO} {_SHOWN} i.filepath = '//../outside.png'", ("Hero",)),
    "sequence": (f"{_HERO} {_SHOWN} i.filepath = '//film_0001.png'; i.source = 'SEQUENCE'; "
                 "n.image_user.frame_duration = 3; n.image_user.use_auto_refresh = True", ("Hero",)),
    "sequence gone": (f"{_HERO} {_SHOWN} i.filepath = '//lost_0001.png'; i.source = 'SEQUENCE'", ("Hero",)),
    "image node without a picture": (
        f"{_EMPTY} l.new(n.outputs[0], hero.data.materials[0].node_tree.nodes['Principled BSDF'].inputs['Base Color'])",
        ("Hero",)),
    "unlinked node without a picture": (_EMPTY, ("Hero",)),
    "no light": ("[bpy.data.objects.remove(o) for o in list(s.objects) if o.type == 'LIGHT']", ("Hero",)),
    "two scenes": ("bpy.data.scenes.new('Second')", ("Hero",)),
    "all wrong": (
        f"{_HERO} {_SHOWN} i.filepath = '//gone.png'; s.camera.data.type = 'ORTHO'; "
        f"i = bpy.data.images.load(folder + '/red.png', check_existing=False); i.filepath = '//lost.png'; "
        "w = bpy.data.worlds.new('w'); s.world = w; w.use_nodes = True; t = w.node_tree; "
        "n = t.nodes.new('ShaderNodeTexEnvironment'); n.image = i; "
        "t.links.new(n.outputs[0], t.nodes['Background'].inputs[0])", ("Heroo", "Sun")),
}  # fmt: skip
