"""The same scenarios under other versions of a package or of the source."""
