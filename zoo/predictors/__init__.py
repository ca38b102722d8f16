"""Base classes of the models of videos and of series, and what models share: rollouts, losses and normalisation."""
