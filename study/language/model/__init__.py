"""Language models over `study.nn`, and what they are tried on before training."""
