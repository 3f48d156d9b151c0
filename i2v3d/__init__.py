"""i2v3d: one image in, a video with exact 3D control out."""

__version__ = "0.1.0"
