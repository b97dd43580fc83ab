"""How one network is trained, the same for every strategy."""
