"""An archive of pairs: finding them, where they may lie, and loading their images."""
