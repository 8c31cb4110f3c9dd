"""What `upfusion submit` does where it is not told otherwise."""

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
NO_WORKING_DIR = "none"
