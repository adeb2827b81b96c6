"""Many machines: a run whose scenarios are examined by the nodes of a cluster, on an engine that exists."""
