"""What runs inside a Blender process; `i2v3d.blender.process` starts it, nothing else imports it."""
