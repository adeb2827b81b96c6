"""A run: what was asked for, the control, every scenario, one `RunResult`."""
