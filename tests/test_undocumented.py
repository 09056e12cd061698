"""Undocumented names stand in one file, and each is still there."""
