"""Runs, experiments and models as MLflow's clients know them: what its REST interface asks for, without HTTP."""
