"""What a run leaves: its file and schema, its history, and the merging of several."""

from leakcheck.results.file import FILE_NAME, ResultFileError, encode, read
from leakcheck.results.merging import merge

__all__ = ["FILE_NAME", "ResultFileError", "encode", "merge", "read"]
