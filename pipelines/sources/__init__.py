"""How source files become the two arrays that are fused: value ranges, palettes, sizes, rigs."""
