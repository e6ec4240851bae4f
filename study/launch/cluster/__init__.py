"""A plan onto SLURM: records, profiles, submission, state and the job's own side. No torch."""
