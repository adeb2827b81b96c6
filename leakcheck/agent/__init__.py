"""Inside the measured process: loads one scenario, runs its step as the parent asks, reads the meters."""
