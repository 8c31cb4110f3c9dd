"""What a person sees of each job at the terminal."""
