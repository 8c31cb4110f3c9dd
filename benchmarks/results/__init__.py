"""docs/results.md: what this project claims, measured. `make results` writes it."""
