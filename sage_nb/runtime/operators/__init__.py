"""The running halves of the graph's operators."""
