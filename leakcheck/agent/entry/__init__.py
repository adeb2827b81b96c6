"""How the agent comes into the processes of a measured program, which need not have anything of ours installed."""
