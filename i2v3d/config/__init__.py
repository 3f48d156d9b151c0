"""The types of every configuration group: one frozen section each, validated when it is built.

Values live in conf/*.yaml; nothing here has a default. `i2v3d.config.sections` says how sections are built.
"""
