"""Registration of rigs, and detection of pairs that are not registered: NumPy, SciPy and OpenCV alone."""
