"""From a photo to a scene as plain data: segmentation, inpainting, meshes, animation. Knows no Blender."""
