"""Tables of all plans of a small space: how they are made, and how strategies are replayed against them."""
