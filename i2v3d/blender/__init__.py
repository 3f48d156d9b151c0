"""The only place that imports bpy: plain-data scenes in, .blend files and rendered passes out."""
