"""The photo: how it is framed, which pixels are the object, and the camera that took it."""
