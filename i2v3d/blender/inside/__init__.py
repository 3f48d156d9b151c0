"""What runs inside a Blender process, and alone imports bpy.

`worker` is its entry, which `i2v3d.blender.process` starts by name; nothing outside this folder imports anything of it.
It shares `jobs`, `machine` and `checks` with the outside.
"""
