"""What a person types; each imports what it needs when it is called."""
