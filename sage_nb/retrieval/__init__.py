"""Pipelines of stages over collections."""
