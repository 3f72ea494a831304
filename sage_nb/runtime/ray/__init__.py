"""Jobs on Ray Core actors; the only place that imports ray."""
