"""A search strategy as a plug-in: all that it takes."""

from pydantic import PositiveInt

from autodpq import AskTellStrategy, CompressionPlan, best_trial


class HillClimb(AskTellStrategy):
    """Changes the best plan so far in a few fields that are drawn at random."""

    name = "hill-climb"

    def __init__(self, *, changes: PositiveInt = 2) -> None:
        self.changes = changes

    def ask(self, number, space, rng, history):
        complete = [trial for trial in history if trial.state == "complete"]
        plan = {name: candidates[0] for name, candidates in space.items()}
        plan.update(best_trial(complete).plan if complete else {})
        for name in rng.permutation(list(space))[: self.changes]:
            plan[name] = space[name][rng.integers(len(space[name]))]
        return CompressionPlan(plan)
