"""What a run is: values, identity, decoding, a plan."""
