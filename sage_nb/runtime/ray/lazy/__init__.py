"""A folder for the PYTHONPATH of Ray's processes: modules that all of them import, and hardly any ever uses."""
