"""What a run reads, by content: hub, files, packages; pins."""
