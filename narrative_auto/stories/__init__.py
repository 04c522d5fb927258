"""Stories, stages and the events that tell them."""
