"""What `scripts/study.py` does: the tables of the paper, the trainings of their rows, and what came out of them."""
