"""Scores of videos: pure functions of arrays, which refuse what they cannot compare."""
