"""What a person builds, explores, watches and compares pipelines with; each class is usable by itself."""
