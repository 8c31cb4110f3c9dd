"""What runs on the cluster: discovery, the fuse graph, tracking, storage, the report."""
