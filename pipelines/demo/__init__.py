"""What `upfusion demo` fuses: scenes that are drawn."""
