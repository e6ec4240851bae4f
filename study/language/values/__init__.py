"""Language's values that runs hold."""
