"""Pipelines as forms: what there is to choose from, a form for any pipeline, changes to it, the cell that says it."""
