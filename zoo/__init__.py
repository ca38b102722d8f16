"""Video-prediction models built on tensor trains."""
