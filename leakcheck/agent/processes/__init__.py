"""Measures the processes of a service: one part in each of them, one in the process that sends the requests."""
