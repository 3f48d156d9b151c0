"""Blender from outside: plain-data scenes in, .blend files and rendered passes out. No bpy here.

`api` is for the rest of the package: it checks, writes `jobs` and has a `crew` of processes do them. `process` starts
each one and hears from it; what runs in it is `inside`.
"""
