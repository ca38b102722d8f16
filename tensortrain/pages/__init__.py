"""Pages: one HTML file with tables, charts, pictures and animations that loads nothing from anywhere."""

from tensortrain.pages.charts import Bars, Chart, Lines
from tensortrain.pages.page import Details, Page, Part, Picture, Player, Prose, Section, Tile

__all__ = ["Bars", "Chart", "Details", "Lines", "Page", "Part", "Picture", "Player", "Prose", "Section", "Tile"]
