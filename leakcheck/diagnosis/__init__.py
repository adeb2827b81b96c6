"""Why something grows: where it was allocated, which container holds it, which resource it is."""
