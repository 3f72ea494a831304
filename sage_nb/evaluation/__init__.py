"""Comparing pipelines."""
