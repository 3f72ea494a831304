"""The values that flow, and how they are read, cut, filtered and written."""
