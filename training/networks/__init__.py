"""Networks: their module names are the names of the layers that the service shows."""
