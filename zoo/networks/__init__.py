"""Networks of recurrent cells that several models share."""
