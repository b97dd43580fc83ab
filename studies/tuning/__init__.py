"""Settings of a recipe tuned on validation rows: by Optuna, for FE, once per data set and model.

All strategies of a study then train by what comes out, and none is charged for it.
"""
