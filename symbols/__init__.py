"""The networks of the zoo as symbols; in an installed package this folder is `gluon_a2.symbols`."""
