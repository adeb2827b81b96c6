"""A service: a command that is started for a scenario, with the agent in its Python processes."""
