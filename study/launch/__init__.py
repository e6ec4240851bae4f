"""A plan onto this machine or onto SLURM."""
