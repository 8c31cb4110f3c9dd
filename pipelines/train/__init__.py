"""The training job: pairs in, checkpoints and the best model out."""
