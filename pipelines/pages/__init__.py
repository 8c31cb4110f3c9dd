"""Pages of jobs: self-contained HTML that loads nothing."""
