"""Loops of training as compiled code and as tensor operations; they know no plan."""
