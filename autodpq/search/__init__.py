"""The interface of strategies, what they may see, and the differentiable search."""
