"""A small procedural world with ground truth: compound objects on a ground under a sky, lit by one sun.

`catalogue` names what exists, `shapes` builds the objects, `sampling` draws scenes and motions from a seed,
`render` traces them (photo, coarse render, depth, masks, flow), all as batched tensors on any device.
`held_out` numbers the clips that no network was trained on; `charts` and `meshes` make textured triangles of a scene.
"""
