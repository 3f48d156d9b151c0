"""Cameras, poses, meshes and how pixels correspond, as arrays: no files, no configuration."""
