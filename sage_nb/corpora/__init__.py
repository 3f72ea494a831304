"""Collections of documents that any machine has."""
