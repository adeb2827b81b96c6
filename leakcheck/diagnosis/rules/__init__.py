"""The rules of the attribution, by what they are about; each takes a case and returns it, changed."""
