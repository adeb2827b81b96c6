"""How a verdict comes about: measure, judge, challenges, budget, result."""
