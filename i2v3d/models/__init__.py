"""Weights on disk to denoisers: everything that knows one network family by name lives here."""
