"""How a commit becomes events, and events reach their handlers."""
