"""How a table, a number and an error look in a terminal and on a page."""
