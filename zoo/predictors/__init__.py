"""What every model promises, of videos and of series, and what models share: rollouts, losses and normalisation."""
