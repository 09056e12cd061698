"""A trained model that serves: as a classifier of files, as an export, with early exits."""
