"""Measures of a search: figures of rankings, intervals, queries from a collection, damage, quantisation."""
