from autodpq_hill_climb import HillClimb

from autodpq.testing import StrategyContract


class TestHillClimb(StrategyContract):
    strategy = HillClimb
