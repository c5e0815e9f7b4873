"""How the console writes dates: sortable, and the same everywhere in the world: in UTC, which they say, without seconds."""

DATETIME_FORMAT = r"Y-m-d H:i \U\T\C"
DATE_FORMAT = "Y-m-d"
TIME_FORMAT = "H:i:s"
