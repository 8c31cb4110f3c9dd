"""MLflow: runs, the model registry, and the model as MLflow loads it."""
