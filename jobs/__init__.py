"""Entry points: read a config, call one pipeline function, print the outcome."""
