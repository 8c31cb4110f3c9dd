"""What goes wrong and how it is reported: exceptions, failed rows, redaction of secrets, escaping."""
