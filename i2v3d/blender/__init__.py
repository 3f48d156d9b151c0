"""The only place that imports bpy: plain-data scenes in, .blend files and rendered passes out.

`api` is for the rest of the package and never imports bpy; it starts `worker` in a process of its own,
which runs `build`, `frames` and `viewset`.
"""
