"""Studies of a served model: where it saw a class, and where its time goes."""
