"""Layers over the kernels, and each layer's cost by formula."""
