"""The evaluation: what is compared, how it is measured, what is said and drawn of it."""
