"""How a drafter is made: a target's own answers, and one layer trained on them."""
