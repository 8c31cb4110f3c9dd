"""What the configurations of all jobs share: the base class, types of fields, the choice of metrics."""
