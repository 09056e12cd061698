"""The network: built from its table, with heads, losses, preprocessing, costs and views of it."""
