"""Leaks that are looked for without a scenario: calls are made up, tried apart from the machine, and judged."""
