"""What runs in the interpreter whose packages are swept: the standard library, and the agent's ledgers, alone."""
