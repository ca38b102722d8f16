"""Self-contained HTML pages with tables, charts, pictures and animations, which load nothing from the network."""

from tensortrain.pages.charts import Bars, Chart, Lines
from tensortrain.pages.page import Details, Page, Part, Picture, Player, Prose, Section, Tile

__all__ = ["Bars", "Chart", "Details", "Lines", "Page", "Part", "Picture", "Player", "Prose", "Section", "Tile"]
