"""The sections of a report, one function each; `registry` lists them in order."""
