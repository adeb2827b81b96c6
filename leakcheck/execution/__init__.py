"""Where jobs run: each in a fresh process of its own."""
