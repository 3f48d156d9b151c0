"""The photo's object as a mesh."""
