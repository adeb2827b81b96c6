"""A service under load: its processes carry the agent, and are measured together while requests are sent to them."""
