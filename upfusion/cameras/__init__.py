"""What cameras write beside plain pixels: temperature scales, radiometric JPEGs, metadata, palettes, file names."""
