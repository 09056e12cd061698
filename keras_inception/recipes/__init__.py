"""How a network is trained, as data: recipes and augmentations. Standard library only."""
