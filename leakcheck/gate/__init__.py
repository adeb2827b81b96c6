"""A team's gate on memory growth: baseline, budgets, and what is new against another run."""
