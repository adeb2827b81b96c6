"""Failures that are injected into a step: where they can strike, and how they do."""
