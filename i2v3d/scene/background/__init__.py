"""What stands behind the object."""
