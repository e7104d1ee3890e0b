"""`hipgw fleet`: the directory of a fleet, from the operator's side."""
