"""Exports of small networks, kept as text in tests/zoo/exports: each normalisation and activation behind a convolution.

A network has a branch for each row of the table: a convolution of its own, what follows it, and a tail. What the source
framework's modules give behind each convolution is found among the tensors of the export when that is made; the text
and the names of those tensors are what is kept, so that tests need no framework. `make zoo` makes them anew.
"""
