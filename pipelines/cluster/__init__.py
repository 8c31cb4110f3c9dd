"""Ray: the cluster a job runs on, its graphs, its watchdog, and submitting jobs to it."""
