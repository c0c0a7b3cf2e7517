"""How a network's predictions change in the course of its training, as the paper's Figure 5 shows it."""
