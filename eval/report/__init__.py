"""One page, LaTeX, Markdown and figures out of evidence and claims."""
