"""The evaluation: sets and methods, measurements, comparisons, tables, figures."""
