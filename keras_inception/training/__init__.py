"""Training: its configuration, the loop, run folders, diagnosis, and several devices."""
