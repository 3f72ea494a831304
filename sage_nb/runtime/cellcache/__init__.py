"""What a cell computed before: values kept under their keys, and what the key of a user's function is made of."""
